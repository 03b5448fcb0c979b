"""Downloads of weights from the model hub, where there is none."""

import socket
import time

import pytest
from huggingface_hub import constants

from embedders.encoders import weights
from embedders.encoders.open_clip_source import parse_source, weights_file
from store.errors import EncoderError
from tests.helpers.postgres import free_port


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """The hub is at a port that nothing listens to, and nothing was downloaded before."""
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "getproxies", dict)


def test_without_the_hub_a_download_fails_at_once(no_hub):
    was_offline = constants.HF_HUB_OFFLINE
    started = time.monotonic()
    for spec in ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:nobody/model"):
        with pytest.raises(EncoderError, match=r"127\.0\.0\.1:\d+ cannot be reached"):
            weights_file(parse_source(spec))
    assert time.monotonic() - started < 30  # the hub's client alone repeats requests for a minute
    assert was_offline == constants.HF_HUB_OFFLINE


def test_without_the_hub_downloaded_files_are_used(no_hub):
    with weights.downloads():
        assert constants.HF_HUB_OFFLINE


def test_an_error_of_a_hub_that_answers_stays_as_it_is(monkeypatch, no_hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ValueError, match="its own, offline: False"), weights.downloads():
            raise ValueError(f"its own, offline: {constants.HF_HUB_OFFLINE}")
