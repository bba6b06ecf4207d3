"""writer.py DIR LOG: writes and renames below DIR; each line of LOG is an operation that returned.
writer.py DIR LOG verify: everything in LOG is there."""
import os, sys

base, log = sys.argv[1], sys.argv[2]


def content(k):
    return (b"%08d " % k) * (1 + k % 700)


def write():
    os.makedirs(base, exist_ok=True)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stop = os.path.splitext(log)[0] + ".stop"
    stream = os.open(f"{base}/stream", os.O_RDWR | os.O_CREAT)
    k = 0
    while not os.path.exists(stop):
        fd = os.open(f"{base}/tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, content(k))
        if k % 10 == 0:
            os.fsync(fd)
        os.close(fd)
        os.rename(f"{base}/tmp", f"{base}/f{k % 40}")
        os.write(out, b"file %d\n" % k)
        os.pwrite(stream, b"%08d" % k, k * 8)
        os.write(out, b"stream %d\n" % k)
        if k % 15 == 7:
            os.unlink(f"{base}/f{k % 40}")
            os.write(out, b"unlink %d\n" % k)
        k += 1


def verify():
    files, last, bad = {}, -1, []
    for line in open(log):
        word, k = line.split()
        k = int(k)
        if word == "stream":
            last = k
        else:
            files[k % 40] = (word, k)
    stream = open(f"{base}/stream", "rb").read()
    for k in range(last + 1):
        if stream[k * 8:k * 8 + 8] != b"%08d" % k:
            bad.append(f"stream {k}")
    for slot, (word, k) in files.items():
        path = f"{base}/f{slot}"
        there = open(path, "rb").read() if os.path.exists(path) else None
        # The operation after the last noted one may have happened as well.
        newer = [content(n) for n in (k + 40,)] + ([None] if k % 15 == 7 else [])
        wanted = [content(k)] if word == "file" else [None]
        if there not in wanted + newer:
            bad.append(f"{word} {k}: {there[:20] if there is not None else None}")
    print("missing:", bad[:10] if bad else "nothing missing")


verify() if sys.argv[3:] else write()
