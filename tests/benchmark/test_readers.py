"""Readers of data sets, each on a tiny made-up tree in its authors' layout: the truth, what is counted apart, what is drawn as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.benchmark.readers import FORMATS, read_dataset
from shared.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def read(folder: Path, **options: str) -> dict[str, tuple[bool, str, str]]:
    """name -> (fake, subset, group)."""
    return {item.name: (item.fake, item.subset, item.group) for item in read_dataset(folder, **options).items}


def test_folders_real_and_fake_with_methods_below(tmp_path: Path):
    touch(
        tmp_path,
        "real/a.mp4",
        "fake/swap/b.mp4",
        "fake/lips/c.png",
        "notes/d.jpg",
        "real/readme.txt",
        "real/.hidden.mp4",
    )
    found = read_dataset(tmp_path)
    assert (found.format, found.unlabelled) == ("folders", 1)
    assert read(tmp_path) == {
        "real/a.mp4": (False, "", ""),
        "fake/swap/b.mp4": (True, "swap", ""),
        "fake/lips/c.png": (True, "lips", ""),
    }


def test_folders_of_generators_with_0_real_and_1_fake(tmp_path: Path):
    touch(tmp_path, "biggan/0_real/a.png", "biggan/1_fake/b.png", "adm/1_fake/c.png")
    assert read(tmp_path)["adm/1_fake/c.png"] == (True, "adm", "")
    assert read(tmp_path)["biggan/0_real/a.png"] == (False, "biggan", "")


def test_a_table_with_subset_and_identity(tmp_path: Path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "set.csv").write_text(
        "file,label,subset,identity,pair,method\na.mp4,real,,anna,,\nb.mp4,fake,swap,,anna,x\nc.mp4,FAKE,lips,ben,,y\n"
        "gone.mp4,real,,,,\na.mp4,perhaps,,,,\nb.mp4,1,,,,\n"
    )
    found = read_dataset(tmp_path / "set.csv")
    assert (found.format, found.missing, found.unlabelled) == ("csv", ["gone.mp4"], 2)
    rows = [(item.name, item.fake, item.subset, item.group) for item in found.items]
    assert rows == [("a.mp4", False, "", "anna"), ("b.mp4", True, "swap", "anna"), ("c.mp4", True, "lips", "ben")]
    assert read(tmp_path / "set.csv", subset_by="method")["c.mp4"] == (True, "y", "ben")


def test_a_file_that_is_listed_twice_counts_once_and_never_as_both(tmp_path: Path):
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "set.csv").write_text("file,label\na.mp4,real\na.mp4,real\nb.mp4,fake\n")
    assert len(read_dataset(tmp_path / "set.csv").items) == 2
    (tmp_path / "set.csv").write_text("file,label\na.mp4,real\na.mp4,fake\n")
    with pytest.raises(UserError, match="listed as real and as fake"):
        read_dataset(tmp_path / "set.csv")


def test_a_table_that_lacks_a_column_says_which_it_has(tmp_path: Path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "set.csv").write_text("file,label\na.mp4,real\n")
    with pytest.raises(UserError, match="no column 'family'; it has file, label"):
        read_dataset(tmp_path / "set.csv", subset_by="family")


def test_dfdc_fakes_go_with_their_original(tmp_path: Path):
    touch(tmp_path, "part_0/a.mp4", "part_0/b.mp4", "part_1/c.mp4")
    (tmp_path / "part_0/metadata.json").write_text(
        json.dumps({"a.mp4": {"label": "REAL", "split": "train"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}})
    )
    (tmp_path / "part_1/metadata.json").write_text(json.dumps({"c.mp4": {"label": "FAKE", "original": "z.mp4"}}))
    assert read(tmp_path) == {
        "part_0/a.mp4": (False, "", "a.mp4"),
        "part_0/b.mp4": (True, "", "a.mp4"),
        "part_1/c.mp4": (True, "", "z.mp4"),
    }


def test_faceforensics_counts_methods_and_compressions_apart_and_draws_pairs(tmp_path: Path):
    touch(
        tmp_path,
        "original_sequences/youtube/c23/videos/000.mp4",
        "original_sequences/youtube/c23/videos/003.mp4",
        "original_sequences/youtube/c23/videos/555.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        "manipulated_sequences/NeuralTextures/c40/videos/003_000.mp4",
        "manipulated_sequences/Deepfakes/masks/videos_old/000_003.mp4",
    )
    found = {
        name.rpartition("/")[2] + " " + subset: (fake, group) for name, (fake, subset, group) in read(tmp_path).items()
    }
    assert found == {
        "000.mp4 youtube c23": (False, "000_003"),
        "003.mp4 youtube c23": (False, "000_003"),
        "555.mp4 youtube c23": (False, "555"),
        "000_003.mp4 Deepfakes c23": (True, "000_003"),
        "003_000.mp4 NeuralTextures c40": (True, "000_003"),
    }


def test_celebdf_reads_its_list_where_1_is_real(tmp_path: Path):
    touch(
        tmp_path,
        "YouTube-real/00170.mp4",
        "Celeb-real/id1_0007.mp4",
        "Celeb-synthesis/id1_id0_0007.mp4",
        "Celeb-real/id9_0000.mp4",
    )
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id1_0007.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n0 Celeb-synthesis/gone.mp4\n"
    )
    found = read_dataset(tmp_path)
    assert (found.format, found.missing) == ("celebdf", ["Celeb-synthesis/gone.mp4"])
    assert read(tmp_path) == {
        "YouTube-real/00170.mp4": (False, "YouTube-real", "YouTube-real/00170.mp4"),
        "Celeb-real/id1_0007.mp4": (False, "Celeb-real", "id1"),
        "Celeb-synthesis/id1_id0_0007.mp4": (True, "Celeb-synthesis", "id1"),
    }


def test_dfdcp_takes_its_test_part(tmp_path: Path):
    touch(tmp_path, "method_A/a.mp4", "original_videos/b.mp4", "method_B/c.mp4")
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "method_A/a.mp4": {"label": "fake", "set": "test", "target_id": 7},
                "original_videos/b.mp4": {"label": "real", "set": "test"},
                "method_B/c.mp4": {"label": "fake", "set": "train", "target_id": 8},
            }
        )
    )
    assert read(tmp_path) == {
        "method_A/a.mp4": (True, "method_A", "7"),
        "original_videos/b.mp4": (False, "original_videos", ""),
    }


def test_wilddeepfake_joins_the_pictures_of_a_sequence(tmp_path: Path):
    touch(
        tmp_path,
        "real_test/1/real/4/0.png",
        "real_test/1/real/4/1.png",
        "fake_test/2/fake/9/0.png",
        "fake_train/3/fake/1/0.png",
    )
    found = read_dataset(tmp_path)
    assert found.format == "wilddeepfake"
    assert {(item.fake, item.whole, item.group) for item in found.items} == {
        (False, "real_test/1/real/4", "real_test/1/real/4"),
        (True, "fake_test/2/fake/9", "fake_test/2/fake/9"),
    }


@pytest.mark.parametrize(
    "lines",
    [
        ["LA_0039 LA_E_1 - A11 spoof", "LA_0014 LA_E_2 - - bonafide", "LA_0014 LA_E_3 - - bonafide"],
        ["LA_0039 LA_E_1 alaw ita_tx A11 spoof notrim eval", "LA_0014 LA_E_2 gsm loc_tx - bonafide notrim eval",
         "LA_0014 LA_E_3 gsm loc_tx - bonafide notrim eval"],
    ],
    ids=["2019", "2021"],
)  # fmt: skip
def test_asvspoof_protocols_of_two_years(tmp_path: Path, lines: list[str]):
    touch(tmp_path, "flac/LA_E_1.flac", "flac/LA_E_2.flac")
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols/trial_metadata.txt").write_text("\n".join(lines) + "\n")
    for place in (tmp_path, tmp_path / "protocols/trial_metadata.txt"):
        found = read_dataset(place)
        assert (found.format, found.missing) == ("asvspoof", ["LA_E_3"])
        assert read(place) == {"LA_E_1": (True, "A11", "LA_0039"), "LA_E_2": (False, "", "LA_0014")}


def test_in_the_wild_draws_speakers(tmp_path: Path):
    touch(tmp_path, "0.wav", "1.wav")
    (tmp_path / "meta.csv").write_text("file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Ronald Reagan,bona-fide\n")
    assert read_dataset(tmp_path).format == "inthewild"
    assert read(tmp_path) == {"0.wav": (True, "", "Alec Guinness"), "1.wav": (False, "", "Ronald Reagan")}


def test_a_folder_that_is_no_data_set_says_what_to_do(tmp_path: Path):
    touch(tmp_path, "a.mp4")
    with pytest.raises(UserError, match=r"folders real/ and fake/, or write a CSV"):
        read_dataset(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_dataset(tmp_path / "nothing")


def test_a_list_whose_files_are_all_missing_is_no_empty_result(tmp_path: Path):
    (tmp_path / "set.csv").write_text("file,label\ngone.mp4,real\n")
    with pytest.raises(UserError, match="1 listed files are missing"):
        read_dataset(tmp_path / "set.csv")


def test_the_command_offers_the_formats_there_are():
    from deepfake_o_meter import FORMATS as OFFERED

    assert tuple(FORMATS) == OFFERED
