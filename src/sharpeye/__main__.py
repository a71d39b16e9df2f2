"""`python -m sharpeye` and the `sharpeye` command."""

from sharpeye.core.import_path import leave_out_current_folder


def main() -> None:
    leave_out_current_folder(is_module_run=__name__ == "__main__")

    from sharpeye.cli.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
