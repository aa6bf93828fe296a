import pytest

from napari_cryoshift.core.files import replacing, write_text


def test_a_file_appears_whole_with_nothing_beside_it(tmp_path):
    path = tmp_path / "list.csv"
    write_text(path, "x\r\nÅ\n")
    assert path.read_bytes() == "x\r\nÅ\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_older_file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("old")

    def write_half():
        with replacing(path) as scratch:
            scratch.write_text("half")
            assert scratch.suffix == path.suffix
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch, before):
    path = tmp_path / "list.csv"
    if before:
        path.write_text(before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    left = "the file that was there is unchanged" if before else "nothing was written"
    with pytest.raises(OSError, match=rf"list\.csv \(No space left on device\), {left}; free some"):
        write_text(path, "new")
    assert (path.read_text() if before else path.exists()) == (before or False)
    assert len(list(tmp_path.iterdir())) == bool(before)


def test_a_missing_folder_is_said_in_one_sentence(tmp_path):
    with pytest.raises(OSError, match=r"could not write .*nothing was written; .* another folder"):
        write_text(tmp_path / "nowhere" / "list.csv", "x")
