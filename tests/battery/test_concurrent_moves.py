"""Commands and the studio at once on one folder of images or one sweep: nothing is lost."""

import csv
import hashlib
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from battery.race_checks import check_result, check_same, round_of, train
from battery.race_server import RaceServer, command
from battery.tally import HangError, LossError, Tally, Tier
from runner import environment, hard_photos, temporaries
from studios import Studio, studio_in_thread


def contents(*folders: Path) -> Counter[str]:
    """How often each image's bytes lie in some folders."""
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return Counter(
        hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.suffix != ".csv"
    )


def write_table_of_fixes(file: Path, folder: Path, label: str, new_label: str) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("path", "label", "new_label", "detail", "folder"))
        for path in sorted((folder / label).iterdir()):
            writer.writerow((f"{label}/{path.name}", label, new_label, "", str(folder)))


MOVERS = (
    ("relabel", "quarantine"),
    ("relabel", "relabel"),
    ("quarantine", "quarantine"),
    ("relabel", "relabel elsewhere"),
    ("relabel", "quarantine", "relabel elsewhere", "quarantine"),
)


def test_moves_of_the_same_images(
    tally: Tally, tier: Tier, seed: int, races: RaceServer, warm: Path, tmp_path: Path
) -> None:
    """`relabel` and `check --quarantine` at once on one folder: no image is lost or doubled."""
    random = np.random.default_rng(seed)
    for number in range(tier.count(small=2, battery=110, full=200)):
        kinds = MOVERS[number % len(MOVERS)]
        with round_of(tally, f"{number}: {kinds}", tmp_path / str(number), warm) as folder:
            photos = hard_photos(folder / "photos", per_class=6)
            for image in range(4):
                (photos / "ash" / f"broken{image}.png").write_bytes(b"\x89PNG\r\n\x1a\n" * image)
            write_table_of_fixes(folder / "fixes.csv", photos, "ash", "birch")
            write_table_of_fixes(folder / "others.csv", photos, "ash", "cedar")
            commands = {
                "relabel": ("relabel", "--apply", folder / "fixes.csv"),
                "relabel elsewhere": ("relabel", "--apply", folder / "others.csv"),
                "quarantine": ("check", photos, "--quarantine", folder / "aside", "--quiet"),
            }
            before = contents(photos)
            results = races.run(
                [command(*commands[kind], delay=float(random.uniform(0, 0.02))) for kind in kinds],
                warm,
            )
            for result in results:
                check_result(result, {0, 2, 3})
            aside = folder / "aside"
            after = contents(photos, aside)
            if before - after:
                raise LossError(f"{sum((before - after).values())} images are gone: {results}")
            assert after == before, f"images are there twice: {after - before}"
            assert temporaries(folder) == []
            if (folder / "fixes.undo.csv").exists():
                (undone,) = races.run(
                    [command("relabel", "--undo", folder / "fixes.undo.csv")], warm
                )
                check_result(undone, {0})
                assert contents(photos, aside) == before
            listed = sum(len(table.read_text().splitlines()) - 1 for table in aside.glob("*.csv"))
            assert listed >= sum(contents(aside).values())


def test_the_studio_beside_commands(
    tally: Tally, tier: Tier, races: RaceServer, trained: Path, warm: Path, tmp_path: Path
) -> None:
    """The studio moves and lists what commands move and write at the same time."""
    for number in range(tier.count(small=0, battery=20, full=30)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            photos = shutil.copytree(trained.parent / "hard", folder / "hard")
            home = folder / "home"
            (home / "runs").mkdir(parents=True)
            write_table_of_fixes(folder / "fixes.csv", photos, "ash", "birch")
            before, stop = contents(photos), threading.Event()
            with studio_in_thread(photos, home=home) as studio:
                names = [f"ash/{path.name}" for path in sorted((photos / "ash").iterdir())]

                user = threading.Thread(target=use_studio, args=(studio, names, stop))
                user.start()
                relabel = command("relabel", "--apply", folder / "fixes.csv")
                training = train(trained.parent / "hard", home / "runs" / "run")
                moved, trained_beside = races.run([relabel, training], warm)
                stop.set()
                user.join()
            check_result(moved, {0, 2, 3})
            check_result(trained_beside, {0})
            check_same(home / "runs" / "run", trained)
            assert contents(photos) == before


def use_studio(studio: Studio, names: list[str], stop: threading.Event) -> None:
    """Move images as a page does, then list the runs until the event is set."""
    with studio.client() as client:
        body = {"paths": names, "label": "cedar"}
        assert client.post("/api/collect/move", json=body).status_code == 200
        while not stop.is_set():
            assert client.get("/api/runs").status_code == 200


def test_a_sweep_that_is_continued_twice(
    tally: Tally, tier: Tier, warm: Path, tmp_path: Path
) -> None:
    """A sweep that two processes continue at once: one does, the other ends with exit code 6."""
    photos = hard_photos(tmp_path / "photos", per_class=6)
    for number in range(tier.count(small=0, battery=1, full=6)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            arguments = [sys.executable, "-m", "sharpeye", "sweep", str(photos)]
            arguments += ["--model", "lenet5", "--grid", "seed=1,2", "--epochs", "1"]
            arguments += ["--output", str(folder / "sweep"), "--workers", "1", "--keep", "0"]
            processes = [
                subprocess.Popen(
                    arguments, env=environment(warm), stderr=subprocess.PIPE, text=True
                )
                for _ in range(2)
            ]
            codes = []
            for process in processes:
                try:
                    _, err = process.communicate(timeout=240)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise HangError("a sweep runs after 240 s") from None
                assert "Traceback" not in err, err[-2000:]
                codes.append(process.returncode)
            assert sorted(codes) in ([0, 6], [0, 0]), codes
    if not tally.tried:
        tally.skip()
