"""Data sets of every kind, read one record at a time."""

import json

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_training.multispa.records import write_parquet
from spatial_mllm_training.runs.recipe import RecipeError
from spatial_mllm_training.sft.records import GENERAL, RecordFault, content_hash, normal, open_records

from .questions import record, write_questions

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A box."}]


def test_folder_of_the_engine(questions):
    found = open_records(questions)
    assert len(found) == 12 and len(open_records(questions, "test")) == 6
    known = found[3]
    assert known["id"] == "camera_vector-3" and known["question_type"] == "camera_vector"
    assert known["images"] == [questions / "images/3.png", questions / "images/4.png"]
    assert known["gt_value"] == [30, -20, 300] and known["meta"]["output"] == "vector"
    assert found[0]["id"] == "depth_estimation_dot-0"  # in any order


def test_annotations_of_scenes(tmp_path):
    folder = tmp_path / "annotations" / "train"
    folder.mkdir(parents=True)
    for scene, count in (("b", 2), ("a", 1)):
        lines = [json.dumps({"id": f"{scene}{i}", "conversations": TURNS}) for i in range(count)]
        (folder / f"{scene}.jsonl").write_text("\n\n".join(lines))
    found = open_records(tmp_path)
    assert [found[i]["id"] for i in range(len(found))] == ["a0", "b0", "b1"]


def test_parquet_of_the_engine_has_its_images_inside(tmp_path):
    """As ``multispa generate --format parquet`` writes it; values are JSON there."""
    source = write_questions(tmp_path / "source", 4)
    images = {f"images/{n}.png": source / f"images/{n}.png" for n in range(6)}
    folder = tmp_path / "questions"
    (folder / "annotations" / "train").mkdir(parents=True)
    rows = [record(n, [f"images/{n}.png", f"images/{n + 1}.png"]) for n in range(4)]
    write_parquet(rows, folder / "annotations" / "train" / "room.parquet", images)
    found, lines = open_records(folder), open_records(source)
    assert len(found) == 4
    for i in range(4):
        assert found[i]["images"] == [path.read_bytes() for path in lines[i]["images"]]
        assert {**found[i], "images": []} == {**lines[i], "images": []}


def turns_of(text):
    return {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "Yes."}]}


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001"),
        ("train-0", "train-1", "test-0"),
        ("train/a", "train/b", "test/a"),
    ],
)
def test_parquet_files_of_a_split(tmp_path, names):
    """As they lie on the hub: only those of the split are read."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        datasets.Dataset.from_list([turns_of(name)]).to_parquet(str(tmp_path / f"{name}.parquet"))
    for split, expected in (("train", names[:2]), ("test", names[2:])):
        found = open_records(tmp_path, split)
        assert [found[i]["conversations"][0]["value"] for i in range(len(found))] == list(expected)
    with pytest.raises(RecipeError, match="with split val"):
        open_records(tmp_path, "val")


def test_parquet_files_by_the_name_of_their_split_or_by_none(tmp_path):
    for name in ("flat/train.parquet", "flat/test.parquet", "bare/rooms.parquet", "bare/trains.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        datasets.Dataset.from_list([turns_of(name)]).to_parquet(str(tmp_path / name))
    assert open_records(tmp_path / "flat", "test")[0]["conversations"][0]["value"] == "flat/test.parquet"
    assert len(open_records(tmp_path / "flat")) == 1 and len(open_records(tmp_path / "bare", "train")) == 2


@pytest.mark.parametrize("more", [{"meta": "a kitchen"}, {"meta": "{}", "gt_value": 3}])
def test_a_text_of_another_kind_in_meta_is_a_fault(tmp_path, more):
    datasets.Dataset.from_list([{**turns_of("Where?"), **more}]).to_parquet(str(tmp_path / "other.parquet"))
    with pytest.raises(RecordFault, match="other-0: expected meta and gt_value as JSON"):
        open_records(tmp_path / "other.parquet")[0]


def test_hugging_face_data_set_on_disk(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]} for n in range(3)
    ]
    table = datasets.Dataset.from_list(rows)
    table.save_to_disk(str(tmp_path / "flat"))
    datasets.DatasetDict({"train": table, "test": table.select([2])}).save_to_disk(str(tmp_path / "split"))
    for found in (open_records(tmp_path / "flat"), open_records(tmp_path / "split")):
        assert len(found) == 3
        assert found[1]["conversations"] == [{"from": "human", "value": "1?"}, {"from": "gpt", "value": "yes"}]
        assert found[1]["question_type"] == GENERAL and found[1]["gt_value"] is None and found[1]["images"] == []
    assert open_records(tmp_path / "split", "test")[0]["conversations"][0]["value"] == "2?"


def test_hugging_face_images_are_not_decoded(tmp_path, questions):
    image = questions / "images" / "0.png"
    text = datasets.Value("string")
    features = datasets.Features({"image": datasets.Image(), "conversations": [{"from": text, "value": text}]})
    values = {"image": [{"path": None, "bytes": image.read_bytes()}], "conversations": [TURNS]}
    table = datasets.Dataset.from_dict(values, features)
    table.save_to_disk(str(tmp_path / "pictures"))
    assert open_records(tmp_path / "pictures")[0]["images"] == [image.read_bytes()]


@settings(max_examples=60)
@given(st.lists(st.text('{}[]"\\,: aé\n\ud7ff', max_size=12), min_size=1, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_objects_of_an_array_are_found_whatever_they_say(tmp_path_factory, texts, indent):
    """The released annotations are one JSON array; each record is read alone, by its place."""
    rows = [{"conversations": [{"from": "human", "value": text}], "x": [[], {"y": {}}]} for text in texts]
    file = tmp_path_factory.mktemp("array") / "released.json"
    file.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), "utf-8")
    found = open_records(file)
    assert [found[i]["conversations"][0]["value"] for i in range(len(found))] == texts


def test_paths_are_beside_the_file(tmp_path):
    (tmp_path / "released.json").write_text(json.dumps([{"video": "scene/a.mp4", "conversations": TURNS}]))
    found = open_records(tmp_path / "released.json")[0]
    assert found["videos"] == [tmp_path / "scene/a.mp4"] and found["id"] == "released-0"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.jsonl", "", "holds no records"),
        ("none.json", "[]", "holds no records"),
        ("data.csv", "a,b", "or a .jsonl, .json or .parquet file"),
        ("bad.parquet", "not parquet", "cannot be read"),
    ],
)
def test_what_is_no_data_set(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=said):
        open_records(tmp_path / name)


def test_folder_without_the_split(questions):
    with pytest.raises(RecipeError, match="with split val"):
        open_records(questions, "val")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1], "expected a JSON object"),
        ({"id": 7}, "7: expected conversations"),
        ({"conversations": ["x"]}, "expected conversations, a list of turns"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "expected turns with from"),
        ({"conversations": [{"from": "human", "value": None}]}, "expected turns with from"),
        ({"conversations": TURNS, "images": [3]}, "expected images and videos as paths"),
    ],
)
def test_faults_of_records(tmp_path, values, said):
    with pytest.raises(RecordFault, match=said):
        normal(values, tmp_path, "data-0")


def test_a_damaged_line_is_said_when_it_is_read(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"conversations": []\n' + json.dumps({"conversations": TURNS}) + "\n")
    found = open_records(tmp_path / "data.jsonl")
    with pytest.raises(RecordFault, match=r"data.jsonl, byte 0: no JSON"):
        found[0]
    assert found[1]["conversations"] == TURNS


def test_a_damaged_text_of_a_table_is_said_when_it_is_read(tmp_path):
    """Parquet gives no text its checksum."""
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "data.parquet"
    turns = [turns_of("How high is it?")["conversations"], turns_of("How wide is it?")["conversations"]]
    parquet.write_table(pa.table({"conversations": turns}), path, use_dictionary=False, compression="none")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"How high", b"How \xffigh"))
    found = open_records(path)
    with pytest.raises(RecordFault, match="data-0: no readable record"):
        found[0]
    assert found[1]["conversations"][0]["value"] == "How wide is it?"


def test_digest_tells_data_from_other_data(questions, tmp_path):
    other = write_questions(tmp_path / "other", 12)
    assert content_hash(open_records(questions).files) == content_hash(open_records(other).files)
    with (other / "train.jsonl").open("a") as file:
        file.write("\n")
    assert content_hash(open_records(questions).files) != content_hash(open_records(other).files)


def test_hash_is_of_names_and_content_not_of_order(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    known = content_hash([a, b])
    assert known == content_hash([b, a])
    b.write_bytes(b"twp")
    assert content_hash([a, b]) != known
