"""What is in files: verified random I/O, mappings, large and sparse files, copies, allocation."""

import json

import pytest

from .clients import Site
from .workloads import data, names

MIB = data.MIB
FIO = (
    "fio --name=verify --filename=fio --thread --ioengine=psync --bsrange=4k-64k --size={size}"
    " --verify=crc32c --verify_fatal=1 --randseed=20 --output-format=json {options}"
    " >/run/tmp/fio.json; cat /run/tmp/fio.json"
)


def fio(site: Site, size: str, options: str) -> dict[str, dict[str, int]]:
    """Run fio in the site and return what its one job did."""
    output = site.a.shell(FIO.format(size=size, options=options), site.path, timeout_s=90)
    job = json.loads(output[output.index("{") :])["jobs"][0]
    assert job["error"] == 0
    return dict(job)


@pytest.mark.parametrize("direct", [0, 1])
def test_fio_verify(site: Site, direct: int) -> None:
    """Random writes read back with right checksums, from the server; a damaged byte is found."""
    size = 24 * MIB if direct == 0 else 8 * MIB
    common = f"--rw=randwrite --direct={direct} --end_fsync=1"
    written = fio(site, str(size), f"{common} --do_verify=0")
    assert written["write"]["io_bytes"] == size
    site.a.forget()
    before = site.a.stats()
    verified = fio(site, str(size), f"{common} --verify_only")
    assert verified["read"]["io_bytes"] == size
    assert site.a.stats().since(before)["READ"].received >= size
    with (site.host / "fio").open("r+b") as file:
        file.seek(size // 2 + 777)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    site.a.forget()
    with pytest.raises(AssertionError, match="exit code"):
        fio(site, str(size), f"{common} --verify_only")


def test_mmap_shared_write(site: Site) -> None:
    """What is written through a shared mapping is seen by a neighbour at once, by all after msync."""
    path, size = f"{site.path}/mapped", 4 * MIB
    writer, neighbour = site.a.process(), site.a.process()
    for process in (writer, neighbour):
        process.call(data.map_file, path, size)
    writer.call(data.map_write, path, MIB + 5, 1, 70_000)
    assert neighbour.call(data.map_has, path, MIB + 5, 1, 70_000)
    writer.call(data.map_sync, path)
    assert data.has_pattern(str(site.host / "mapped"), 1, 70_000, MIB + 5)
    assert site.b.call(data.has_pattern, path, 1, 70_000, MIB + 5)
    assert site.b.call(data.is_zero, path, 0, MIB + 5)
    for process in (writer, neighbour):
        process.call(data.unmap, path)
    site.a.forget()
    assert site.a.call(data.has_pattern, path, 1, 70_000, MIB + 5)


def test_file_over_4_gib(site: Site) -> None:
    """Offsets beyond 32 bits reach the right place, in both directions, without filling the gap."""
    path, host = f"{site.path}/large", str(site.host / "large")
    far, edge = (9 << 29), (1 << 32) - 1000
    site.a.call(data.write_pattern, path, 3, MIB, far)
    site.a.call(data.write_pattern, path, 4, 2000, edge)
    assert data.has_pattern(host, 3, MIB, far) and data.has_pattern(host, 4, 2000, edge)
    for client in (site.a, site.b):
        client.forget()
        assert client.call(data.sizes, path)[0] == far + MIB
        assert client.call(data.sizes, path)[1] < 8 * MIB
        assert client.call(data.has_pattern, path, 3, MIB, far)
        assert client.call(data.has_pattern, path, 4, 2000, edge)
        assert client.call(data.is_zero, path, far - (1 << 32), MIB)
    site.b.call(data.truncate, path, (1 << 32) + 10)
    assert (site.host / "large").stat().st_size == (1 << 32) + 10
    assert site.b.call(data.has_pattern, path, 4, 1010, edge)


def test_sparse_file(site: Site) -> None:
    """A hole takes no space and reads as zeros; NFSv4.2 finds it, earlier versions see only data."""
    path = f"{site.path}/sparse"
    site.a.call(data.write_pattern, path, 5, MIB, 0)
    site.a.call(data.write_pattern, path, 6, MIB, 8 * MIB)
    site.a.call(data.truncate, path, 12 * MIB)
    site.b.forget()
    before = site.b.stats()
    assert site.b.call(data.sizes, path)[0] == 12 * MIB
    assert 2 * MIB <= site.b.call(data.sizes, path)[1] < 3 * MIB
    used = int(site.b.shell("du -k sparse | cut -f1", site.path))
    assert 2 * 1024 <= used < 3 * 1024
    assert site.b.call(data.is_zero, path, MIB, 7 * MIB)
    found = [
        site.b.call(data.seek, path, offset, what)
        for offset, what in ((0, "hole"), (MIB, "data"), (8 * MIB, "hole"), (9 * MIB, "data"), (0, "data"))
    ]
    if site.minor == 2:
        assert found == [MIB, 8 * MIB, 9 * MIB, None, 0]
        assert site.b.stats().since(before)["SEEK"].operations >= 5
    else:
        assert found == [12 * MIB, MIB, 12 * MIB, 9 * MIB, 0]


def test_copies(site: Site) -> None:
    """cp --reflink=auto and copy_file_range() copy exactly; on NFSv4.2 the server does the copying."""
    source, size = f"{site.path}/source", 5 * MIB + 123
    site.a.call(data.write_pattern, source, 7, size)
    before = site.a.stats()
    site.a.shell("cp --reflink=auto source by-cp", site.path)
    assert site.a.call(data.copy_range, source, f"{site.path}/by-call", size) == size
    work = site.a.stats().since(before)
    for name in ("by-cp", "by-call"):
        assert data.sizes(str(site.host / name))[0] == size
        assert data.has_pattern(str(site.host / name), 7, size)
        assert site.b.call(data.has_pattern, f"{site.path}/{name}", 7, size)
    if site.minor == 2:
        assert work["COPY"].operations + work["CLONE"].operations >= 2
        assert work["WRITE"].operations == 0


def test_fallocate_and_punch(site: Site) -> None:
    """NFSv4.2 allocates space and punches holes; earlier versions say that they cannot."""
    path, host = f"{site.path}/allocated", str(site.host / "allocated")
    if site.minor < 2:
        assert site.a.call(data.fallocate, path, False, 0, MIB) == "ENOTSUP"
        assert site.a.call(data.fallocate, path, True, 0, MIB) == "ENOTSUP"
        return
    assert site.a.call(data.fallocate, path, False, 0, 4 * MIB) == "ok"
    size, allocated = data.sizes(host)
    assert size == 4 * MIB and allocated >= 4 * MIB
    assert site.a.call(data.is_zero, path, 0, 4 * MIB)
    site.a.call(data.write_pattern, path, 8, 4 * MIB)
    assert site.a.call(data.fallocate, path, True, MIB, 2 * MIB) == "ok"
    assert data.sizes(host)[0] == 4 * MIB and data.sizes(host)[1] <= allocated - 2 * MIB + 65536
    whole = data.pattern(8, 4 * MIB)
    with open(host, "rb") as file:
        assert file.read() == whole[:MIB] + bytes(2 * MIB) + whole[3 * MIB :]
    for client in (site.a, site.b):
        assert client.call(data.is_zero, path, MIB, 2 * MIB)
        assert client.call(data.sizes, path)[0] == 4 * MIB


def test_close_to_open(site: Site) -> None:
    """What one client wrote and closed is what another opens next, each time, sizes included."""
    path = f"{site.path}/shared"
    for number in range(20):
        writer, reader = (site.a, site.b) if number % 2 else (site.b, site.a)
        text = f"{number} " * (number + 1)
        writer.call(names.write, path, text)
        assert reader.call(names.read, path) == text
