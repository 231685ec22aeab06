/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs dump of a log: superblocks, what it stands on, and each record from the last checkpoint on, with its changes.
 *
 * The log may be in use meanwhile, so nothing is locked, and what the writer changes at that moment may look damaged.
 */
#include "dump_redo.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli.h"
#include "redo/redo_format.h"

struct dump {
	struct text text;
	struct buf buf;
	bool any, damaged;
};

/* Print what is in the buffer: one structure. */
static void flush(struct dump *d)
{
	if (d->text.json)
		fputs(d->any ? ",\n" : "\n", stdout);
	fwrite(d->buf.data, 1, d->buf.len, stdout);
	d->buf.len = 0;
	d->any = true;
}

static void damaged(struct dump *d, const char *what, const uint64_t *index, enum ply_reason reason,
		    const char *message)
{
	text_begin(&d->text, what, index);
	text_word(&d->text, "damaged", ply_reason_name(reason));
	text_name(&d->text, "message", message, strlen(message));
	text_end(&d->text);
	flush(d);
	d->damaged = true;
}

static void supers(struct dump *d, struct redo_store *s)
{
	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		uint8_t raw[PLY_SUPER_SIZE] = { 0 };
		struct redo_super super;
		struct ply_err err;
		int r = s->pread(s, raw, sizeof(raw), (uint64_t)i * PLY_SUPER_SIZE);

		if (r < 0)
			ply_fail_sys(&err, r, "cannot be read");
		else
			r = redo_super_decode(raw, i, &super, &err);
		if (r < 0) {
			damaged(d, "redo-superblock", &(uint64_t){ i }, err.reason, err.msg);
			continue;
		}
		redo_super_to_text(&d->text, i, &super);
		flush(d);
	}
}

static void binding(struct dump *d, const struct redo_binding *b)
{
	text_begin(&d->text, "binding", NULL);
	text_name(&d->text, "path", b->path, strlen(b->path));
	text_hex(&d->text, "image_uuid", b->image_uuid, sizeof(b->image_uuid));
	text_u64(&d->text, "names", b->nnames);
	text_u64(&d->text, "decisions", b->ndecisions);
	text_end(&d->text);
	flush(d);
	for (const char *n = redo_binding_name(b, NULL); n; n = redo_binding_name(b, n)) {
		text_begin(&d->text, "selected", NULL);
		text_name(&d->text, "name", n, strlen(n));
		text_end(&d->text);
		flush(d);
	}
	for (uint32_t i = 0; i < b->ndecisions; i++) {
		text_begin(&d->text, "decision", &(uint64_t){ i });
		text_ref(&d->text, "a", b->decisions[i].a);
		text_ref(&d->text, "b", b->decisions[i].b);
		text_u64(&d->text, "rule", b->decisions[i].rule);
		text_u64(&d->text, "driver", b->decisions[i].driver);
		text_end(&d->text);
		flush(d);
	}
}

/* What is in the checkpoint is told by numbers; records show what came after it. */
static void index_of(struct dump *d, const struct redo_info *i)
{
	text_begin(&d->text, "redo-index", NULL);
	text_u64(&d->text, "inodes", i->inodes);
	text_u64(&d->text, "entries", i->entries);
	text_u64(&d->text, "extents", i->extents);
	text_ref(&d->text, "next_cookie", i->next_cookie);
	text_u64(&d->text, "live_bytes", i->data_live);
	text_u64(&d->text, "dead_bytes", i->data_dead);
	text_u64(&d->text, "tail_lsn", i->tail_lsn);
	text_u64(&d->text, "cut_bytes", i->cut);
	text_end(&d->text);
	flush(d);
}

static int record(void *ctx, const struct redo_record *r, uint64_t off)
{
	struct dump *d = ctx;

	(void)off;
	redo_record_to_text(&d->text, r);
	flush(d);
	for (uint32_t i = 0; i < r->nchanges; i++) {
		redo_change_to_text(&d->text, i, &r->changes[i]);
		flush(d);
	}
	return 0;
}

static void contents(struct dump *d, struct redo *log)
{
	struct redo_info info;
	struct ply_err err;

	redo_info(log, &info);
	binding(d, redo_binding(log));
	index_of(d, &info);
	if (redo_records(log, record, d, &err) < 0)
		damaged(d, "redo-record", NULL, err.reason, err.msg);
	if (info.damaged)
		damaged(d, "redo-record", &info.damaged_lsn, PLY_R_REDO_DAMAGED, info.warning);
}

static int open_log(const char *path, struct redo **ret, struct ply_err *err)
{
	struct redo_store *s;
	int r = redo_store_open(path, REDO_LOOK, &s, err);

	return r < 0 ? r : redo_open(s, REDO_LOOK, ret, err);
}

int dump_redo(const char *path)
{
	struct dump d = { .any = false };
	struct redo *log = NULL;
	struct redo_store *s;
	struct ply_err why, err;
	int code = EXIT_DONE, r;

	d.text = (struct text){ .out = &d.buf, .json = cli_json };
	/* one of a newer format is not damaged; what it means is not known */
	r = open_log(path, &log, &why);
	if (r < 0 && why.reason == PLY_R_REDO_FEATURE)
		return cli_fail(&why);
	if (redo_store_open(path, REDO_LOOK, &s, &err) < 0) {
		redo_abandon(log);
		return cli_fail(&err);
	}
	if (cli_json)
		printf("{\"schema\": 1, \"structures\": [");
	supers(&d, s);
	redo_store_close(s);
	if (r == 0)
		contents(&d, log);
	else
		damaged(&d, "log", NULL, why.reason, why.msg);
	redo_abandon(log);
	if (cli_json)
		printf("%s], \"damaged\": %s}\n", d.any ? "\n" : "", d.damaged ? "true" : "false");
	if (d.text.failed) {
		cli_note("out of memory");
		code = EXIT_FAILED;
	} else if (d.damaged) {
		cli_note("the log is damaged");
		code = EXIT_DAMAGE;
	}
	buf_done(&d.buf);
	return code;
}
