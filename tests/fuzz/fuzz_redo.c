/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a log. First byte: bit 0 makes checksums right. It is opened to be read, and all of it is asked for
 * and shown; then, if it opens to be written, it takes a few requests and a checkpoint, and has the same to say when
 * it is opened again.
 */
#include "fuzz.h"
#include "redo/redo_format.h"
#include "redo_input.h"
#include "unit/redo_model.h"

static int show(void *ctx, const struct redo_record *r, uint64_t off)
{
	struct text *t = ctx;

	redo_record_to_text(t, r);
	for (uint32_t i = 0; i < r->nchanges; i++)
		redo_change_to_text(t, i, &r->changes[i]);
	touch(t->out->data, t->out->len);
	t->out->len = 0;
	return off ? 0 : 1;
}

static int orphan(void *ctx, uint64_t ino)
{
	(void)ctx;
	touch(&ino, sizeof(ino));
	return 0;
}

static int bad_data(void *ctx, const struct redo_bad *bad)
{
	(void)ctx;
	touch(bad, sizeof(*bad));
	return bad->len ? 0 : -1;
}

static void read_all(struct redo_disk *d)
{
	struct buf out = { 0 };
	struct text t = { .out = &out };
	struct redo_info info;
	struct ply_err err;
	struct redo *log;
	uint64_t bytes;

	if (redo_open(redo_disk_store(d), 0, &log, &err) < 0) {
		touch(err.msg, strlen(err.msg));
		return;
	}
	redo_info(log, &info);
	if (info.writable || info.damaged != (*info.warning && info.damaged))
		abort();
	for (const char *n = redo_binding_name(redo_binding(log), NULL); n; n = redo_binding_name(redo_binding(log), n))
		touch(n, strlen(n));
	model_log_digest(log);
	redo_orphans(log, orphan, NULL);
	if (redo_verify(log, bad_data, NULL, &bytes) < 0)
		abort();
	redo_records(log, show, &t, &err);
	buf_done(&out);
	redo_abandon(log);
}

static void write_some(struct redo_disk *d, struct model *m)
{
	struct redo_info info;
	struct redo *log;
	uint64_t before, after;

	if (redo_open(redo_disk_store(d), REDO_WRITE, &log, NULL) < 0)
		return;
	redo_info(log, &info);
	if (!info.writable) {
		redo_abandon(log);
		return;
	}
	for (int k = 0; k < 6; k++)
		model_step(m, log, NULL, NULL);
	if (redo_checkpoint(log, NULL) < 0)
		abort();
	for (int k = 0; k < 3; k++)
		model_step(m, log, NULL, NULL);
	before = model_log_digest(log);
	if (m->rng % 2)
		redo_abandon(log);
	else if (redo_close(log, NULL) < 0)
		abort();
	if (redo_open(redo_disk_store(d), REDO_WRITE, &log, NULL) < 0)
		abort();
	redo_info(log, &info);
	after = model_log_digest(log);
	if (info.damaged || before != after)
		abort();
	redo_abandon(log);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	if (!size || seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, max);
	return 1 + redo_input_mutate(data + 1, size - 1, max - 1, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	bool repair = input_number(&in, 1) & 1;
	struct model *m = malloc(sizeof(*m));
	struct redo_disk d;

	if (!m)
		abort();
	model_init(m, size + 1);
	redo_disk_init(&d);
	redo_input_unpack(&in, &d);
	if (repair)
		redo_input_repair(&d);
	read_all(&d);
	write_some(&d, m);
	redo_disk_done(&d);
	free(m);
	return 0;
}
