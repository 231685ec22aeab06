#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
fsynced.py write DIR ACKS N: N files, each with its fsync; ACKS notes how long the log of powercut.py was then.
fsynced.py check DIR ACKS: is everything there that was acknowledged before POWERCUT_ENTRY?
"""
import hashlib
import os
import sys

from powercut import entries

verb, folder, acks = sys.argv[1:4]
if verb == 'write':
    with open(acks, 'w', encoding='ascii') as note:
        for i in range(int(sys.argv[4])):
            data = hashlib.sha256(str(i).encode()).digest() * (1 + i * 37 % 900)
            with open(f'{folder}/unsynced{i}', 'wb') as f:
                f.write(data)
            with open(f'{folder}/f{i}', 'wb') as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            at = os.open(folder, os.O_RDONLY)
            os.fsync(at)
            os.close(at)
            note.write(f"{entries(os.environ['POWERCUT_LOG'])} f{i} {hashlib.sha256(data).hexdigest()}\n")
else:
    bad = seen = 0
    with open(acks, encoding='ascii') as lines:
        for line in lines:
            entry, name, digest = line.split()
            if int(entry) > int(os.environ['POWERCUT_ENTRY']):
                continue
            seen += 1
            try:
                with open(f'{folder}/{name}', 'rb') as f:
                    bad += hashlib.sha256(f.read()).hexdigest() != digest
            except OSError:
                bad += 1
    print(f'# {seen} acknowledged, {bad} lost')
    sys.exit(bad > 0)
