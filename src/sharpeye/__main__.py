"""`python -m sharpeye` and the `sharpeye` command."""

from sharpeye.core.import_path import leave_out_current_folder


def main() -> None:
    leave_out_current_folder(is_module_run=__name__ == "__main__")

    from sharpeye.cli.signals import Signalled, exit_on_signals, ignore_signals

    exit_on_signals()

    from sharpeye.cli.app import run
    from sharpeye.core.standard_streams import stop_raising_warnings

    stop_raising_warnings()
    try:
        exit_code = run()
        ignore_signals()
    except Signalled as signalled:  # between the end of the command and that of the process
        exit_code = signalled.error.exit_code
    raise SystemExit(exit_code)


if __name__ == "__main__":
    main()
