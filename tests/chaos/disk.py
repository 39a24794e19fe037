"""The bad disk of a node (faultfs.c): how it is set, and what a loss of power undoes."""

import os
import pathlib
import struct

RECORD = struct.Struct("<7Q")
WRITE, SYNC, DURABLE = 1, 2, 3


class Disk:
    """FAULTFS_* of one node. directory: the node's data; the side files are beside it."""

    def __init__(self, library, directory):
        self.library, self.directory = library, pathlib.Path(directory)
        self.control = self.directory.with_suffix(".control")
        self.undo = self.directory.with_suffix(".undo")
        self.set()

    def environment(self):
        return [f"LD_PRELOAD={self.library}", f"FAULTFS_DIR={self.directory}/", f"FAULTFS_CONTROL={self.control}",
                f"FAULTFS_UNDO={self.undo}"]

    def set(self, errors=0, stall_ms=0):
        """In place: the process has the file mapped."""
        fd = os.open(self.control, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(fd, struct.pack("<2I", errors, stall_ms), 0)
        os.close(fd)

    def forget(self):
        """What was written is durable from here on: the process died, the machine did not."""
        self.undo.unlink(missing_ok=True)

    def lose_power(self, rnd):
        """Undoes the last unsynced writes, some or all of them; returns how many. Only while the node is dead."""
        lost = self.unsynced()
        if lost and rnd.random() < 0.5:
            lost = lost[rnd.randrange(len(lost)):]
        files = {path.stat().st_ino: path for path in self.directory.rglob("*") if path.is_file()}
        for _, inode, offset, written, old_size, data in reversed(lost):
            if inode not in files:
                continue
            with open(files[inode], "r+b") as file:
                file.seek(offset)
                file.write(data)
                if old_size < offset + written:
                    file.truncate(max(old_size, offset + len(data)))
        self.forget()
        return len(lost)

    def unsynced(self):
        """(seq, inode, offset, written, old size, old bytes) of each write that no sync covers, oldest first."""
        raw = self.undo.read_bytes() if self.undo.exists() else b""
        at, writes, synced, durable = 0, [], {}, set()
        while at + RECORD.size <= len(raw):
            kind, seq, inode, offset, size, written, old_size = RECORD.unpack_from(raw, at)
            at += RECORD.size
            if kind == WRITE:
                if at + size > len(raw):
                    break  # killed while it noted what it would write: not written
                writes.append((seq, inode, offset, written, old_size, raw[at:at + size]))
                at += size
            elif kind == SYNC:
                synced[inode] = max(seq, synced.get(inode, 0))
            else:
                durable.add(seq)
        return [row for row in sorted(writes) if row[0] > synced.get(row[1], 0) and row[0] not in durable]
