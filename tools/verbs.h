/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs: name, operands, what they do. Each is cmd_NAME() in tools/cmd_NAME.c. */
#ifndef PLYFS_VERBS_H
#define PLYFS_VERBS_H

#define VERBS(X) \
	X(components, "ROOT", "what is worth a sub-image of its own") \
	X(capture, "ROOT IMAGE", "a machine into one image") \
	X(add, "IMAGE NAME ROOT", "another machine, as a difference") \
	X(remove, "IMAGE NAME", "such a difference out again") \
	X(plan, "IMAGE", "what collides, and what comes of it") \
	X(mount, "IMAGE|REDO DIR", "show an image, or a log on it, as a tree") \
	X(umount, "DIR", "end a mount, wait until it is gone") \
	X(sync, "DIR", "wait until all of it is on the disk") \
	X(stats, "DIR", "what the daemon of a mount has done") \
	X(redo, "create IMAGE REDO", "a log for what is changed on an image") \
	X(relink, "REDO IMAGE", "the image of a log has moved") \
	X(layout, "IMAGE TARGET", "a selection as ordinary files") \
	X(info, "IMAGE|REDO", "sub-images, sizes, digests") \
	X(ls, "IMAGE [PATH]", "list a directory of an image") \
	X(cat, "IMAGE PATH", "a file's bytes to the standard output") \
	X(origin, "PATH...", "which component a file is from") \
	X(verify, "IMAGE|REDO", "check it, or a tree against an image") \
	X(dump, "IMAGE [SUB]", "print the structures of image or log")

#define X(name, operands, about) int cmd_##name(int argc, char **argv);
VERBS(X)
#undef X

#endif
