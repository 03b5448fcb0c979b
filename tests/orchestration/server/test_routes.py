"""What the server answers: rows as JSON and Arrow, samples, originals, errors with a message."""

import base64
import io
import json
import re
import struct
import time
import zlib
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

import isotrope
from orchestration.json_logs import JsonFormatter
from store import identity
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, picture
from tests.helpers.served import Served, publish_again, served

TEXT = {"inputs": [{"text": "a red square number 15"}], "limit": 3}


@pytest.fixture(scope="module")
def client(server: Served):
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def corpus(stored: Workspace) -> isotrope.Corpus:
    return isotrope.open_corpus(stored.root)


def test_json_and_arrow_have_the_rows_of_the_client(
    client: httpx.Client, corpus: isotrope.Corpus
) -> None:
    columns = ["key", "part_id", "thumbnail", "image_width"]
    query = {**TEXT, "select": columns}
    search = corpus.search(text="a red square number 15").limit(3).select(*columns)
    expected = search.run()
    answer = client.post("/search", json=query).json()
    assert (answer["release"], answer["complete"], answer["notes"]) == (1, True, [])
    rows = search.to_list()
    for row in rows:
        row["thumbnail"] = base64.b64encode(row["thumbnail"]).decode()
    assert answer["rows"] == rows
    arrow = client.post(
        "/search", json=query, headers={"accept": "application/vnd.apache.arrow.stream"}
    )
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table.equals(expected.rows)
    assert json.loads(table.schema.metadata[b"isotrope"])["complete"] is True


def test_files_are_inputs(client: httpx.Client, corpus: isotrope.Corpus) -> None:
    red = picture(COLOURS["red"], 15)
    alone = client.post("/search", files={"image": red})
    assert alone.json()["rows"] == corpus.search(image=red).to_list()
    query = {
        "inputs": [
            {"text": "a blue square number 12", "weight": 0.6},
            {"image": "file:photo", "weight": 0.4},
        ],
        "limit": 5,
    }
    mixed = client.post("/search", data={"query": json.dumps(query)}, files={"photo": red})
    expected = corpus.search("a blue square number 12", red, weights=[0.6, 0.4]).limit(5)
    assert mixed.json()["rows"] == expected.to_list()


def test_samples_originals_and_thumbnails(client: httpx.Client, corpus: isotrope.Corpus) -> None:
    hit = corpus.search(text="a red square number 15").select("part_id").to_list()[0]
    sample = client.get(f"/samples/{hit['id']}").json()
    assert sample["key"] == "red-0015"
    assert sample["text"] == "a red square number 15"
    original = client.get(f"/samples/{hit['id']}/image")
    assert original.content == picture(COLOURS["red"], 15)
    assert original.headers["content-type"] == "image/png"
    text = client.get(f"/samples/{hit['id']}/text")
    assert text.text == "a red square number 15"
    assert client.get(f"/samples/{hit['id']}/audio").status_code == 404
    small = client.get(f"/thumbnails/{hit['part_id']}")
    assert Image.open(io.BytesIO(small.content)).format == "JPEG"


def test_only_items_of_the_release_can_be_read(client: httpx.Client, stored: Workspace) -> None:
    samples = stored.tables.open("samples").to_table(columns=["id", "image_id"]).to_pylist()
    released = isotrope.open_corpus(stored.root).gallery_dataset("image").to_table()
    kept = set(released["sample_ids"].combine_chunks().flatten().to_pylist())
    for row in samples:
        expected = 200 if row["id"] in kept else 404
        assert client.get(f"/samples/{row['id']}").status_code == expected
    assert client.get(f"/samples/{'0' * 32}").status_code == 404
    assert client.get(f"/audio/{'0' * 32}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/samples/..%2f..%2fcorpus.yaml",
        "/samples/%2e%2e/%2e%2e/etc/passwd",
        "/thumbnails/x' OR '1'='1",
        "/samples/" + "A" * 32,
        "/audio/" + "0" * 5000,
        "/samples/" + "0" * 32 + "%00",
        "/samples/" + "0" * 32 + "/meta",
        "/../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_hostile_paths_are_refused(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]["message"]


def test_conditions_can_name_all_columns(client: httpx.Client, corpus: isotrope.Corpus) -> None:
    tests = {"number": "{} >= 0", "text": "{} = 'x'", "flag": "{}", "list": "array_has({}, 'x')"}
    columns = client.get("/columns").json()
    assert list(columns) == corpus.release.modalities
    for modality, of_gallery in columns.items():
        names = [column["name"] for column in of_gallery]
        assert names == corpus.open_gallery(modality).filter_columns
        where = " OR ".join(tests[c["kind"]].format(c["name"]) for c in of_gallery)
        query = {**TEXT, "among": modality, "where": where}
        assert client.post("/search", json=query).status_code == 200


def test_release_health_and_ready(client: httpx.Client) -> None:
    release = client.get("/release").json()
    assert release["number"] == 1
    assert release["dim"] == 16
    assert "space_config" not in release
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}


def bomb(side: int) -> bytes:
    """A PNG of `side` times `side` pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 422, "not valid JSON"),
        (b"{", 422, "not valid JSON"),
        (b"[" * 100_000, 422, "not valid JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 422, "not valid JSON"),
        (b"\xff\xfe{}", 422, "not UTF-8"),
        (b'{"inputs": [{"text": "x"}], "limit": NaN}', 422, "not a JSON number"),
        (b'{"inputs": [{"text": "x"}], "limit": 1, "limit": 2}', 422, "repeated"),
        (b'{"inputs": [{"text": "x"}], "limit": 1e400}', 422, "limit"),
        (b'{"inputs": [{"text": "x"}], "limit": ' + b"9" * 5000 + b"}", 422, ""),
        (b'{"inputs": [{"text": "x"}], "limit": 0}', 422, "limit"),
        (b'{"inputs": [{"text": "\\ud800"}]}', 422, ""),
        (b'{"inputs": [{"image": "/etc/passwd"}]}', 422, "base64"),
        (b'{"inputs": [{"image": "file:///etc/passwd"}]}', 422, "base64"),
        (b'{"inputs": [{"image": "aGVsbG8="}]}', 422, "image"),
        (b'{"inputs": [{"audio": "aGVsbG8="}]}', 422, "audio"),
        (b'{"inputs": [{"vector": [1, 2], "modality": "text"}]}', 422, "shape|dim|16"),
        (b'{"inputs": [{"text": "x"}], "select": ["nonsense"]}', 404, "columns"),
        (b'{"inputs": [{"text": "x"}], "where": "nonsense > 1"}', 422, "where"),
        (b'{"inputs": [{"text": "x"}], "release": 99}', 404, "release 99"),
        (b'{"inputs": [{"text": "x"}], "among": "audio"}', 422, "audio"),
        (b'{"inputs": [{"id": "' + b"0" * 32 + b'"}]}', 404, ""),
    ],
)
def test_wrong_queries_are_explained(
    client: httpx.Client, body: bytes, status: int, message: str
) -> None:
    answer = client.post("/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert re.search(message, answer.json()["error"]["message"]), answer.text


def test_a_decompression_bomb_is_not_decoded(client: httpx.Client) -> None:
    large = bomb(20_000)
    assert len(large) < 100_000
    answer = client.post("/search", files={"image": large})
    assert answer.status_code == 422
    assert "20000 x 20000 pixels" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_other_bodies_are_refused(client: httpx.Client, content_type: str) -> None:
    answer = client.post(
        "/search", content=json.dumps(TEXT), headers={"content-type": content_type}
    )
    assert answer.status_code == 422


def test_broken_forms_are_refused(client: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x", b"--x\r\n\r\n--x--", b"garbage" * 100):
        assert client.post("/search", content=body, headers=headers).status_code in (400, 422)
    no_file = client.post(
        "/search",
        data={"query": '{"inputs": [{"image": "file:photo"}]}'},
        files={"other": picture(COLOURS["red"], 15)},
    )
    assert "no file 'photo'" in no_file.json()["error"]["message"]
    unknown = client.post("/search", data={"limit": "3"}, files={"image": b"x"})
    assert unknown.status_code == 422


def test_an_explanation(client: httpx.Client, corpus: isotrope.Corpus) -> None:
    explained = client.post("/explain", json=TEXT, params={"row": 1}).json()
    expected = corpus.search(text="a red square number 15").limit(3).run().explain(1)
    assert explained["key"] == expected.key
    assert explained["rank"] == 2
    assert client.post("/explain", json=TEXT, params={"row": 3}).status_code == 404
    assert client.post("/explain", json=TEXT, params={"row": -1}).status_code == 422


def test_metrics_and_the_log_have_no_query(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "isotrope.access"):
        client.post("/search?secret=1", json=TEXT)
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)  # the line is written after the reply
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert (line["route"], line["status"], line["method"]) == ("/search", 200, "POST")
    assert "red" not in caplog.text
    assert "secret" not in caplog.text
    metrics = client.get("/metrics").text
    assert 'isotrope_requests_total{route="/search",status="200"}' in metrics
    assert "isotrope_release 1.0" in metrics


def test_recordings_of_the_release(corpus_folder: Path) -> None:
    tables = isotrope.open_corpus(corpus_folder).tables
    sound = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
    file = io.BytesIO()
    soundfile.write(file, sound, 8000, format="WAV")
    part = identity.part_id("audio", file.getvalue())
    sample = identity.sample_id(None, part, None)
    released, rejected = sample, identity.sample_id(None, part, part)
    rows = [
        {"drop": "first", "id": id_, "source": "x", "key": "tone", "audio_id": part,
         "audio": file.getvalue(), "audio_format": "wav"}
        for id_ in (released, rejected)
    ]  # fmt: skip
    batch = pa.Table.from_pylist(rows, schema.SAMPLES)
    tables.replace("samples", schema.SAMPLES, batch.to_batches(), "false")
    columns = schema.gallery(16)
    row = {field.name: 0 if pa.types.is_floating(field.type) else None for field in columns}
    row |= {f"hub_{m}": False for m in schema.MODALITIES}
    row |= {"vector": [1.0] + [0.0] * 31, "part_id": part, "id": sample, "sample_ids": [sample]}
    row |= {"drops": ["first"], "cluster": sample, "key": "tone"}
    name = "gallery__colours__audio"
    gallery = pa.Table.from_pylist([row], columns)
    version = tables.replace(name, columns, gallery.to_batches(), "false")
    publish_again(tables, {name: version})
    with served(corpus_folder) as running, httpx.Client(base_url=running.url) as client:
        recording = client.get(f"/audio/{part}")
        assert recording.content == file.getvalue()
        assert recording.headers["content-type"] == "audio/wav"
        assert client.get(f"/samples/{sample}/audio").content == file.getvalue()
        assert client.get(f"/samples/{rejected}/audio").status_code == 404
        assert client.get(f"/thumbnails/{part}").status_code == 404
        vector = {"inputs": [{"vector": [1.0] + [0.0] * 15, "modality": "text"}], "among": "audio"}
        found = client.post("/search", json={**vector, "select": ["part_id"]}).json()["rows"]
        assert [row["part_id"] for row in found] == [part]


def test_the_map_of_a_gallery(client: httpx.Client, corpus: isotrope.Corpus) -> None:
    drawn = client.get("/map", params={"gallery": "image", "queries": "text"}).json()
    rows = corpus.gallery_dataset("image").to_table(columns=["part_id", "occurrence_text"])
    assert drawn["part_ids"] == rows["part_id"].to_pylist()
    assert drawn["rows"] == rows.num_rows == len(drawn["x"]) == len(drawn["corrected"])
    assert client.get("/map", params={"gallery": "audio"}).status_code == 422
