"""The supported versions, each in an environment of its own: ``nox`` (not part of CI: gigabytes and minutes each).

What came of it stands in docs/support.md.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True

#: Python -> what is pinned there; the oldest Python carries the oldest of all, 3.12 the newest of all
PINS = {
    "3.10": ["torch==2.6.0", "transformers==5.2.0", "accelerate==1.3.0"],
    "3.11": ["-c", "constraints.txt", "torch", "transformers"],
    "3.12": ["torch", "transformers"],
    "3.13": ["torch==2.13.0", "transformers==5.2.0"],
}
#: the parts that lean on torch and transformers most
ROOMS = ("core", "diffusion", "models", "decoding", "training", "data", "integration", "recipes")
TESTS = [*(f"tests/{room}" for room in ROOMS), "tests/cli/test_cli.py", "tests/test_api.py"]
EVERY = ("-p", "no:cacheprovider", "-m", "slow or not slow")


@nox.session(python=list(PINS))
def tests(session: nox.Session) -> None:
    session.install(*PINS[session.python])
    session.install("-e", ".[offline]", "pytest", "hypothesis", *[p for p in PINS[session.python] if "==" in p])
    session.run("pip", "list", "--format=freeze", silent=False)
    settings = ("OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE", "HF_HUB_OFFLINE=1", "TOKENIZERS_PARALLELISM=false")
    threads = dict(pair.split("=") for pair in settings)
    session.run("pytest", *EVERY, *(session.posargs or TESTS), env=threads)


@nox.session(python="3.11")
@nox.parametrize("accelerate", ["accelerate==1.3.0", "accelerate"])
@nox.parametrize("transformers", ["transformers==5.2.0", "transformers"])
def accumulation(session: nox.Session, transformers: str, accelerate: str) -> None:
    """One division of an accumulated gradient, whichever of the two libraries makes it: oldest and newest of both."""
    session.install("-c", "constraints.txt", "torch")
    session.install("-e", ".[offline]", "pytest", transformers, accelerate)
    session.run("pip", "list", "--format=freeze", silent=False)
    session.run("pytest", *EVERY, "tests/training/test_accumulation.py", "tests/integration/test_processes.py")


@nox.session(python="3.11")
def wheel(session: nox.Session) -> None:
    """The built package in a clean environment, away from the sources."""
    folder = session.create_tmp()
    session.run("pip", "wheel", "--no-deps", "-q", "-w", folder, ".")
    session.install("-c", "constraints.txt", "torch")
    session.install("-c", "constraints.txt", "--find-links", folder, "unmask")
    session.chdir(folder)
    for words in (["--help"], ["list"], ["list", "recipes"]):
        session.run("unmask", *words)
