/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TARGET/var/lib/plyfs: plan, journal, done/NAME. All names in it are opened beneath the target; nothing of it is
 * believed that another user could have written.
 */
#ifndef PLYFS_LAYOUT_STATE_H
#define PLYFS_LAYOUT_STATE_H

#include "layout/journal.h"
#include "layout/target.h"

enum state_kind {
	STATE_NONE,                /* no layout was begun */
	STATE_LEFT,                /* remains of one that had not begun, or of an abort that had ended */
	STATE_CHANGED,             /* no layout was begun, but what was there was changed: update.h */
	STATE_TIMES,               /* only times and mode of the target have still to be put back */
	STATE_BEGUN,               /* plan and journal are there */
	STATE_REDUCING,            /* they are, and some components are being taken out; plan may be the old one or the new */
	STATE_ABORTING,            /* they are, and names are being taken out; the plan may be gone */
};

struct state {
	struct target *target;     /* borrowed */
	enum state_kind kind;
	char place[80];            /* "var", or the name under which it is made and taken away */
	int top, lib, dir, done;   /* descriptors, -1: not open; dir is that of plan and journal */
	int out;                   /* what is being taken out: away.c */
	int journal;               /* locked */
	bool sync;
	struct journal j;
	struct saved saved;
	bool has_saved;
};

void state_init(struct state *s, struct target *t, bool sync);
void state_close(struct state *s);

/* Looks, and changes nothing. @lock: no other may hold the journal (TARGET_BUSY), as long as @s is open.
 * STATE_DAMAGED; also where what lies there is not the caller's. */
int state_find(struct state *s, bool lock, struct ply_err *err);

/*
 * A new one: first the directories, not yet under their name (state_begin(); s->dir can be used to probe), then
 * with plan and journal, all at once, as TARGET/var (state_publish()). @uid, @gid: what a new file gets.
 */
int state_begin(struct state *s, struct ply_err *err);
int state_publish(struct state *s, const struct saved *saved, struct ply_err *err);

/* What is to be written to the journal next; state_write() makes it durable. */
struct state_note {
	enum journal_type type;
	enum layout_phase phase;
	const uint8_t *digest;     /* of JOURNAL_REDUCING; else NULL */
};
int state_write(struct state *s, const struct state_note *notes, size_t n, struct ply_err *err);
/* Names are being taken out from here on: a record says so. Where it cannot be written (the disk is full), the journal is
 * cut to its beginning, and no phase counts as done any more. */
int state_abort(struct state *s, struct ply_err *err);
/* Another plan beside the one that counts, in the place of what was there; then, to count instead of it. */
int state_put_plan(struct state *s, const struct saved *saved, struct ply_err *err);
int state_take_plan(struct state *s, struct ply_err *err);
/* That other plan. */
int state_read_new(struct state *s, struct saved *ret, struct ply_err *err);
/* done/NAME, which may be there. */
int state_mark_done(struct state *s, const char *name, struct ply_err *err);
/* No more. */
int state_unmark_done(struct state *s, const char *name, struct ply_err *err);

/*
 * Takes all of it out, and puts times (and mode, where it has to be so) of the target back last. What else is in
 * var and var/lib stays, and they with it. Returns 0 or -errno of what could not be done.
 */
int state_remove(struct state *s);

#endif
