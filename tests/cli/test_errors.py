"""A command that fails says why in one line, before torch is imported if the arguments are to blame."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onegen_hf.cli import main as command_line
from onegen_hf.cli.errors import INTERRUPTED, describe, errors_in_one_line, warnings_in_one_line
from onegen_hf.cli.main import COMMANDS, main

# Runs a command and reports on what it has imported, as the last line of standard output.
PROBE = """
import json, sys, time
def probe(arguments):
    from onegen_hf.cli.main import main
    try:
        main(arguments)
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
    heavy = [name for name in ("torch", "transformers", "datasets", "faiss") if name in sys.modules]
    print(json.dumps({"code": code, "heavy": heavy, "seconds": time.process_time()}))
"""
# Forks for each line of arguments and file to write to; it has imported what every command does: half a second.
SERVER = f"""{PROBE}
import os
import onegen_hf.terminal.options
for line in sys.stdin:
    arguments, path = json.loads(line)
    if (child := os.fork()) == 0:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{{path}}.{{name}}", os.O_CREAT | os.O_WRONLY), descriptor)
        probe(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
Probe = Callable[..., tuple[dict[str, Any], str]]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def probe(server: subprocess.Popen[str], tmp_path: Path) -> Probe:
    """arguments of the command line → the report on them, and standard error."""

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps([arguments, str(tmp_path / "written")]) + "\n")
        server.stdin.flush()
        assert server.stdout.readline() == "0\n"
        shown, errors = ((tmp_path / f"written.{name}").read_text() for name in ("stdout", "stderr"))
        for name in ("stdout", "stderr"):
            (tmp_path / f"written.{name}").unlink()
        return json.loads(shown.splitlines()[-1]), errors

    return run


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_light(arguments: list[str], probe: Probe) -> None:
    report, _ = probe(*arguments)
    assert report["code"] == 0 and report["heavy"] == []


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_takes_no_time(arguments: list[str]) -> None:
    """From the start of the interpreter."""
    command = [sys.executable, "-c", f"{PROBE}\nprobe(sys.argv[1:])", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["heavy"] == [] and report["seconds"] < 1.5  # about 0.3 on an idle machine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "Who?", "--dtype", "float99"], "dtype='float99' is unknown: choose one of auto, float32"),
        (["ask", "Who?", "--dtype", "int8"], "dtype='int8' is unknown.* use --int8"),
        (["ask", "Who?", "--device", "foo"], "device='foo' is unknown: choose auto, cpu, cuda"),
        (["ask", "Who?", "--top-k", "0"], "top_k=0 must be at least 1"),
        (["ask", "Who?", "--preset", "multihop"], "argument --preset: invalid choice: 'multihop'"),
        (["link", "a", "--nil-threshold", "nan"], "nil_threshold=nan must be a finite number"),
        (["index", "--passages", "a.jsonl"], "arguments are required: --output-dir"),
        (["index", "--passages", "a", "--output-dir", "b", "--dtype", "float99"], "dtype='float99' is unknown"),
        (["evaluate", "--dataset", "a", "--output-dir", "b", "--limit", "0"], "limit=0 must be at least"),
        (["evaluate", "--dataset", "a", "--output-dir", "b", "--fit-threshold"], "for task=entity-linking only"),
        (["evaluate", "--dataset", "a", "--output-dir", "b", "--confidence-level", "nan"], "confidence_level=nan"),
        (["evaluate", "--passages", "a"], "unknown options: --passages; did you mean --passages-split"),
        (["demo", "--max-hops", "five"], "argument --max-hops: invalid int value: 'five'"),
        (["push", "model", "folder", "not a repo!!", "--dry-run"], "repository 'not a repo!!' is not a valid name"),
        (["ask", "--config", "no-such-file.yaml"], "no-such-file.yaml: No such file or directory"),
        (["ask", "Who?", "--model", "/no/such/model"], "model='/no/such/model': no such directory, and not"),
        (["link", "a", "--index", "./no-such-index"], "index='./no-such-index': no such directory, and not"),
        (
            ["ask", "Who?", "--index", "missing"],
            "index='missing': no such directory here.* build one with `onegen",
        ),
        (["as"], "unknown command 'as': choose one of demo, ask, .*; did you mean ask"),
    ],
)
def test_faulty_arguments_are_answered_before_torch_is_imported(
    arguments: list[str], message: str, probe: Probe
) -> None:
    report, shown = probe(*arguments)
    assert report["code"] == 2 and "torch" not in report["heavy"]
    assert shown.count("\n") == 1
    assert re.search(message, shown)


@pytest.mark.parametrize("command", [["index", "--passages", "a"], ["evaluate", "--dataset", "a"]])
def test_a_null_character_in_the_name_of_a_folder(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It can come out of a configuration file."""
    with pytest.raises(SystemExit):
        main([*command, "--output-dir", "b\0c"])
    assert "output_dir='b\\x00c' holds a null character" in capsys.readouterr().err


class Stranger(Exception):
    """An error of some library."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("k=0 must be\n  at least 1"), "k=0 must be at least 1"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.yaml"), "a.yaml: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device", "b.faiss"), "the disk is full: free some space"),
        (RuntimeError("Error in write: No space left on device"), "the disk is full"),
        (Stranger("what\x1b[2J happened"), "Stranger: what\ufffd[2J happened (--debug shows the traceback)"),
        (StopIteration(), "StopIteration (--debug shows the traceback)"),
        (KeyError("x"), "KeyError: 'x' (--debug shows the traceback)"),
        (MemoryError(), "MemoryError (--debug"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_line_for_every_error(error: Exception, message: str) -> None:
    with pytest.raises(SystemExit) as stopped, errors_in_one_line("onegen-hf ask"):
        raise error
    assert str(stopped.value.code).startswith(f"onegen-hf ask: {message}")
    assert "\n" not in str(stopped.value.code)
    with pytest.raises(type(error)), errors_in_one_line("onegen-hf ask", debug=True):
        raise error


def test_a_full_disk_behind_another_error() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise Stranger("could not save") from error
    except Stranger as error:
        assert describe(error).startswith("the disk is full")


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command_line.COMMANDS, "fail", ("json", ""))  # `json` has no function `main`
    with pytest.raises(SystemExit, match="^onegen-hf fail: AttributeError"):
        main(["fail"])
    with pytest.raises(AttributeError):
        main(arguments)
    monkeypatch.setenv("ONEGEN_DEBUG", "1")
    with pytest.raises(AttributeError):
        main(["fail"])


def test_debug_of_the_training_arguments_is_left_to_them() -> None:
    assert command_line._without_debug(["train", "--debug", "underflow_overflow"])[0] == [
        "train", "--debug", "underflow_overflow"
    ]  # fmt: skip
    assert command_line._without_debug(["train", "--debug", "--use_cpu"]) == (["train", "--use_cpu"], True)
    assert command_line._without_debug(["ask", "--debug", "Who?"]) == (["ask", "Who?"], True)
    assert command_line._without_debug(["ask", "--", "--debug"]) == (["ask", "--", "--debug"], False)


@pytest.mark.parametrize("command", ["serve", "ui"])
def test_a_port_that_is_taken(command: str, probe: Probe) -> None:
    """Said before a model is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        report, shown = probe(command, "--port", str(port))
    assert report["code"] == 1 and report["heavy"] == []
    assert shown.startswith(f"onegen-hf {command}: port={port} is taken: choose another one, or 0 for a free one")
    _, shown = probe(command, "--host", "no.such.host.invalid")
    assert shown.startswith(f"onegen-hf {command}: host='no.such.host.invalid': this machine can't listen there")


def test_warnings_in_one_line() -> None:
    before = warnings.formatwarning
    with warnings_in_one_line("onegen-hf ask"):
        line = warnings.formatwarning("--k is\nnow called --top-k", FutureWarning, "ask.py", 3)
    assert line == "onegen-hf ask: FutureWarning: --k is now called --top-k\n"
    assert warnings.formatwarning is before


def start(name: str, work: str) -> subprocess.Popen[str]:
    """`onegen-hf NAME` in a process of its own, with an expression in place of its work."""
    code = "\n".join(
        [
            "import sys, time, types",
            "from onegen_hf.cli import main",
            "module = types.ModuleType('work')",
            f"module.main = lambda arguments: {work}",
            "sys.modules['work'] = module",
            f"main.COMMANDS['{name}'] = ('work', '')",
            f"main.main(['{name}'])",
        ]
    )
    # A job in the background of a shell is started with interrupts ignored, and so are its children.
    return subprocess.Popen(
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        args=[sys.executable, "-c", code],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c() -> None:
    process = start("index", "(print('started', flush=True), time.sleep(60))")
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert shown == "onegen-hf index: interrupted: run the same command again to continue\n"


def test_ctrl_c_while_the_command_is_imported() -> None:
    """Of the first tenth of a second, only the interpreter's own start and two small modules are without a handler."""
    code = "\n".join(
        [
            "import sys, types",
            "from onegen_hf.__main__ import main",
            "def interrupted(fullname, path, target=None):",
            "    if fullname == 'onegen_hf.cli.main':",
            "        raise KeyboardInterrupt",
            "sys.meta_path.insert(0, types.SimpleNamespace(find_spec=interrupted))",
            "main()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (INTERRUPTED, "onegen-hf: interrupted\n")


def test_little_is_imported_before_ctrl_c_has_a_handler() -> None:
    code = "import sys; before = {*sys.modules}; import onegen_hf.__main__; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert not {"dataclasses", "inspect", "logging", "tempfile"} & {*done.stdout.split()}


def test_the_script_is_the_module() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"onegen-hf": "onegen_hf.__main__:main"}


def test_a_reader_that_stops_reading() -> None:
    process = start("ask", "[print('x' * 1000) for _ in range(10000)]")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 1


def test_a_chain_of_errors_that_leads_back_ends() -> None:
    """As where a library wraps an error of ours, which is then raised from that wrapper."""
    ours = ValueError("line 2: not valid JSON")
    wrapper = RuntimeError("generating the dataset failed")
    ours.__cause__, wrapper.__cause__ = wrapper, ours
    assert describe(ours) == "line 2: not valid JSON"
    wrapper.__context__ = OSError(errno.ENOSPC, "No space left on device")
    wrapper.__cause__ = None
    assert describe(ours).startswith("the disk is full")
