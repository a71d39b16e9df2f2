"""`python -m sharpeye` and the `sharpeye` command."""

from sharpeye.core.import_path import leave_out_current_folder


def main() -> None:
    leave_out_current_folder(is_module_run=__name__ == "__main__")

    from sharpeye.cli.app import run
    from sharpeye.core.standard_streams import stop_raising_warnings

    stop_raising_warnings()
    raise SystemExit(run())


if __name__ == "__main__":
    main()
