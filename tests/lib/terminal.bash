# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Commands at a terminal: for tests of questions.

# at_terminal KEYS COMMAND...: KEYS (\n for return) are typed; its output, and its exit code
at_terminal()
{
	python3 - "$@" <<'END'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(fd, sys.argv[1].encode().decode("unicode_escape").encode())
out = b""
while True:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    out += piece
sys.stdout.write(out.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
}
