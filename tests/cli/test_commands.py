"""The commands around describing: help, version, info, verify, doctor, export's usage."""

import json
import os
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main
from cli_process import C2T, ENVIRONMENT, Command, run_c2t, set_golden

import c2t
from c2t.cli import app
from c2t.runtime.system.machine import look_at_machine


def test_help_names_every_command() -> None:
    done = run_c2t("--help")
    assert done.returncode == 0
    for command in (
        *("demo", "export", "describe", "annotate", "ask", "explain", "report", "sign", "verify"),
        *("info", "help", "doctor"),
    ):
        assert f"\n  {command} " in done.stdout
        shown = run_c2t(command, "--help")
        assert shown.returncode == 0
        assert "Usage: c2t" in shown.stdout


def test_an_option_is_of_one_kind_on_every_command() -> None:
    """A flag here and a value there under one name would surprise; so would another short name."""
    kinds: dict[str, set[tuple[bool, tuple[str, ...]]]] = {}
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            names = tuple(sorted((*option.opts, *option.secondary_opts)))
            for name in names:
                if name.startswith("-"):
                    kinds.setdefault(name, set()).add((option.is_flag, names))
    assert kinds["--json"] == {(True, ("--json",))}
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}


def test_version() -> None:
    assert run_c2t("--version").stdout == f"c2t {c2t.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ("nonsense", "no such command 'nonsense'", "see `c2t --help`"),
        ("info", "missing argument 'BUNDLE'", "see `c2t info --help`"),
        ("info --nonsense x", "no such option: --nonsense", "see `c2t info --help`"),
        ("describe x", "missing argument 'CELLS'", "see `c2t describe --help`"),
        ("describe x y --limit many", "'--limit': ", "see `c2t describe --help`"),
        ("describe x y --limit=many", "'many'", "see `c2t describe --help`"),
        (
            "demo --family llama",
            "--family is 'llama'",
            "it is one of cell2text, cell2sentence, cellwhisperer",
        ),
    ],
)
def test_wrong_usage_is_exit_2(call_c2t: Command, arguments: str, error: str, hint: str) -> None:
    done = call_c2t(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[1] == f"hint: {hint}"


def test_without_arguments_the_help_is_shown(call_c2t: Command) -> None:
    done = call_c2t()
    assert done.returncode == 2
    assert "Usage: c2t" in done.stdout + done.stderr


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["info", "info --json", "doctor", "--help"])
def test_output_that_cannot_be_written(bundle: Path, command: str) -> None:
    arguments = [*command.split(), *([bundle] if command.startswith("info") else [])]
    with FULL.open("w") as stream:
        done = run_c2t(*arguments, stdout=stream.fileno())
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cannot write to standard output: No space left on device",
        "hint: send it somewhere else",
    ]


def test_output_that_is_closed(bundle: Path) -> None:
    command = f"exec {C2T} info {bundle} >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to standard output: ")
    assert len(done.stderr.splitlines()) == 2
    done = subprocess.run(f"{command} 2>&-", shell=True, capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(call_c2t: Command, bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "genes.npz").chmod(0)
    done = call_c2t("info", "--verify", copy)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {copy / 'genes.npz'}: Permission denied\n")


def test_a_system_error_is_told(
    call_c2t: Command, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "genes.npz")

    monkeypatch.setattr("c2t.runtime.bundle.bundle.open_bundle", refusing)
    done = call_c2t("info", bundle)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: genes.npz: Permission denied",
        "hint: mend that and run the same command again; --debug says more",
    ]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run_c2t("info", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {tmp_path} is not a bundle: it has no manifest.json",
        "hint: give its folder, such as c2t-demo/bundle, or make one with `c2t export`",
    ]
    for arguments in (["--debug", "info", tmp_path], ["info", tmp_path, "--debug"]):
        done = run_c2t(*arguments)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "BundleError" in done.stderr


def test_info(call_c2t: Command, bundle: Path) -> None:
    done = call_c2t("info", bundle)
    assert done.returncode == 0
    assert done.stderr == ""
    for part in ("tiny", "fp32", "random weights", "mlp", "Describe this cell.", "CC0-1.0"):
        assert part in done.stdout
    assert "present, sizes right" in done.stdout
    assert "all as written (SHA-256)" in call_c2t("info", bundle, "--verify").stdout
    document = json.loads(call_c2t("info", bundle, "--json").stdout)
    assert document["manifest"]["name"] == "tiny"
    assert document["files_checked"] is False
    assert len(document["digest"]) == 64


def test_verify(call_c2t: Command, bundle: Path, tmp_path: Path) -> None:
    done = call_c2t("verify", bundle)
    assert done.returncode == 0, done.stderr
    if look_at_machine().gpu_problem:
        done = call_c2t("verify", bundle, "--engine", "cuda")
        assert done.returncode == 1
        assert "engine cuda does not work here: " in done.stderr
        assert "hint: run `c2t doctor`, or describe with --engine cpu" in done.stderr
    done = call_c2t("verify", bundle, "--engine", "cpu")
    assert "2 of 2 golden cells have the expected text" in done.stdout
    copy = tmp_path / "bundle"
    copy.mkdir()
    for file in bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    golden = json.loads((copy / "golden.json").read_text())["cells"]
    golden[1]["token_ids"][4] += 1
    golden[1]["text"] = "something else"
    set_golden(copy, golden)
    done = call_c2t("verify", copy)
    assert done.returncode == 1
    assert "cell 1 differs from text token 4 on" in done.stderr
    assert "expected: something else" in done.stderr
    assert "error: 1 of 2 golden cells have another text" in done.stderr
    found = json.loads(call_c2t("verify", copy, "--json").stdout)
    assert found["differences"][0]["first_token"] == 4


needs_scipy = pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is not installed")


@pytest.mark.parametrize(
    "command", ["verify", "bench", pytest.param("evaluate", marks=needs_scipy)]
)
def test_an_engine_that_is_not_here_is_refused_before_hashing(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path, command: str
) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    weights = damaged / "decoder.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    arguments = [cells] if command == "evaluate" else []
    done = call_c2t(command, damaged, *arguments, "--engine", "tensorrt-ep")
    assert done.returncode == 1
    assert "engine tensorrt-ep does not work here" in done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("evaluate BUNDLE CELLS", "evaluate"),
        ("calibrate BUNDLE CELLS -o out", "calibrate"),
        ("bench kernels -o out", "evaluate"),
    ],
)
def test_what_a_lean_install_lacks_is_named(words: str, extra: str, tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(scipy=None, onnx=None); import c2t.cli; c2t.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.endswith(
        ("needs scipy, which is not installed", "needs onnx, which is not installed")
    )
    assert hint == f'hint: run `pip install "c2t[{extra}]"`'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("serve BUNDLE", "h11", "serve"),
        ("demo --family cellwhisperer -o out", "zstandard", "demo"),
    ],
)
def test_a_package_that_another_brings_along_is_named_too(
    words: str, package: str, extra: str, tmp_path: Path
) -> None:
    if extra == "demo":
        pytest.importorskip("torch", reason="torch is not installed: c2t[export]")
    code = f"import sys; sys.modules[{package!r}] = None; import c2t.cli; c2t.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: this command needs {package}, which is not installed",
        f'hint: run `pip install "c2t[{extra}]"`',
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["cell2text", "cell2sentence", "cellwhisperer"])
def test_a_demo_that_is_there_is_refused_before_torch_is_loaded(
    family: str, tmp_path: Path
) -> None:
    (tmp_path / "out" / "bundle").mkdir(parents=True)
    (tmp_path / "out" / "bundle" / "kept").write_text("mine")
    code = "import sys; sys.modules['torch'] = None; import c2t.cli; c2t.cli.main()"
    for force, problem in (((), "exists already"), (("--force",), "holds no manifest.json")):
        done = subprocess.run(
            [sys.executable, "-c", code, "demo", "--family", family, "-o", "out", *force],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=ENVIRONMENT,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        error, hint = done.stderr.splitlines()
        assert problem in error
        assert hint.startswith("hint: ")
    assert (tmp_path / "out" / "bundle" / "kept").read_text() == "mine"


def test_verify_finds_a_tokenizer_that_was_exchanged(
    call_c2t: Command, bundle: Path, tmp_path: Path
) -> None:
    """The engine gives the expected tokens, but they mean other words."""
    copy = shutil.copytree(bundle, tmp_path / "copy")
    path = copy / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    names = sorted(words, key=words.get)
    tokenizer["model"]["vocab"] = dict(zip(names, [*range(len(words))][::-1], strict=True))
    path.write_text(json.dumps(tokenizer))
    set_golden(copy, json.loads((copy / "golden.json").read_text())["cells"])
    done = call_c2t("verify", copy)
    assert done.returncode == 1
    assert "cell 0 has the expected tokens in other words" in done.stderr


@pytest.mark.parametrize(
    ("golden", "error"),
    [
        ([], "the bundle has no golden cells"),
        ([{"gene_tokens": [99999], "token_ids": [1], "text": ""}], "gene token 99999 is not among"),
        ([{"gene_tokens": [], "token_ids": [1], "text": ""}], "has no gene tokens"),
        ([{"gene_tokens": [5], "token_ids": [-1], "text": ""}], "outside the vocabulary"),
    ],
)
def test_golden_cells_that_show_nothing(
    call_c2t: Command, bundle: Path, tmp_path: Path, golden: list[dict[str, object]], error: str
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    set_golden(copy, golden)
    done = call_c2t("verify", copy)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert error in lines[0]
    assert "engine" not in lines[1]


def test_doctor() -> None:
    done = run_c2t("doctor")
    assert done.returncode == 0, done.stdout
    assert "engines that would run here" in done.stdout
    assert "telemetry" in done.stdout
    found = json.loads(run_c2t("doctor", "--json").stdout)
    engines = {engine["name"]: engine for engine in found["engines"]}
    assert list(engines) == ["cpu", "cuda", "tensorrt", "rtx", "tensorrt-ep"]
    assert engines["cpu"]["runs"] is True
    for engine in engines.values():
        assert engine["runs"] or engine["reasons"]
    assert found["telemetry"] == "off (ORT_DISABLE_TELEMETRY=1)"
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_bytes"] > 1 << 28


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "nothing was given"),
        (["folder", "--preset", "x", "--random"], "more than one of them was given"),
        (["--geneformer", "g"], "also needed: --llama, --checkpoint or --adapter"),
        (["--geneformer", "g", "--llama", "l"], "also needed: --checkpoint or --adapter"),
        (["--preset", "x"], "--preset and --random go together"),
        (["folder", "--random"], "--preset and --random go together"),
        (["--preset", "x", "--random", "--num-beams", "4"], "settings of its own; also given: num"),
        (["folder", "--system-message", "a", "--system-message-file", "b"], "are both given"),
    ],
)
def test_export_usage(call_c2t: Command, tmp_path: Path, arguments: list[str], error: str) -> None:
    done = call_c2t("export", *arguments, "-o", tmp_path / "bundle")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert error in done.stderr
    assert "\nhint: " in done.stderr


def test_missing_extra_is_named(tmp_path: Path) -> None:
    # A finder that knows no torch, in a fresh interpreter: as after `pip install c2t[cpu]`.
    code = """
import sys
for name in ("torch", "onnx", "onnx_ir", "transformers", "optimum"):
    sys.modules[name] = None
from c2t.cli import main
main()
"""
    arguments = [sys.executable, "-P", "-c", code, "export", "folder", "-o", str(tmp_path / "b")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "which is not installed" in done.stderr
    assert 'hint: run `pip install "c2t[export]"`' in done.stderr


def test_start_is_quick() -> None:
    """Processor time, as other tests may be running; 50 ms and 0.4 s are promised."""

    def best(*arguments: str) -> float:
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-P", "-c", *arguments], check=True, capture_output=True
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    assert best("import c2t") - best("pass") < 0.05
    assert best("from c2t.cli import main; main()", "--help") < 0.4


def test_the_module_is_the_command() -> None:
    """`python -m c2t.cli` did nothing, and a test that ran it so had nothing to find."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "c2t.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"c2t {c2t.__version__}\n"
