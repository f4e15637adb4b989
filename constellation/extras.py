"""Optional dependencies ("extras") of this project: how a person installs them."""


def how_to_install(extra: str) -> str:
    """Return instructions to install optional dependencies (an "extra") of this project.

    The package is not in a registry, so the instructions name the checkout and the wheel.
    """
    return (
        f"in the checkout: .venv/bin/python -m pip install -e '.[{extra}]'; with a wheel from "
        f"`make wheel`: pip install 'dist/WHEEL[{extra}]'"
    )
