"""The figures: names and types in Prometheus' text format, and what else the responder says."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nfsd.admin.metrics import MetricsServer
from nfsd.config import Address
from tests.cli.fake import FakeServer


def serve(work: Callable[[int], Any]) -> Any:
    """The value of `work(port)`, done in a thread while the figures are served."""

    async def main() -> Any:
        server = MetricsServer(Address("127.0.0.1", 0), FakeServer().metrics)
        address = await server.start()
        try:
            return await asyncio.to_thread(work, address.port)
        finally:
            await server.stop()

    return asyncio.run(main())


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_metrics_scrape() -> None:
    """Counters, gauges and labels arrive with our prefix."""
    status, text = serve(lambda port: get(port, "/metrics"))
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["understudy_opens"].type == "gauge"
    assert families["understudy_requests"].type == "counter"
    operations = families["understudy_operations"].samples
    assert {(s.labels["operation"], s.value) for s in operations} == {("OPEN", 2), ("CLOSE", 1)}
    assert families["understudy_odd"].samples[0].labels == {"kind": "x"}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/metrics", "POST", 405),
        ("/metrics?x=1", "GET", 200),
        ("/metrics", "HEAD", 200),
    ],
)
def test_metrics_other_requests(path: str, method: str, status: int) -> None:
    """Anything but a GET of /metrics is refused."""
    found, text = serve(lambda port: get(port, path, method))
    assert found == status
    assert bool(text) == (method != "HEAD")


def test_metrics_no_http() -> None:
    """Nonsense is refused, and a head that is too long ends the connection."""

    async def main() -> list[bytes]:
        server = MetricsServer(Address("127.0.0.1", 0), FakeServer().metrics)
        address = await server.start()
        answers = []
        for data in (b"nonsense\r\n\r\n", b"x" * 20_000):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(data)
            try:
                answers.append(await reader.read())
            except ConnectionError:
                answers.append(b"")
            writer.close()
        await server.stop()
        return answers

    first, second = asyncio.run(main())
    assert first.startswith(b"HTTP/1.1 400 ")
    assert second == b""
