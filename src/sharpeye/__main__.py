"""`python -m sharpeye` and the `sharpeye` command."""


def main() -> None:
    from sharpeye.cli.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
