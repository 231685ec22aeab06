/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a layout's state: see journal.h.
 *
 * A journal is only ever appended to, and each record is on the disk before what it allows is done. So one
 * record at most can be torn, the last: it is shorter than a record, or ends in zeros, since blocks are zero before they
 * are written; its last byte is never zero when it is whole. That is told apart from damage (a bit that flipped),
 * which is an error wherever it is: a lost "committed" would cost time, but a lost "aborting" would make a
 * resume believe in phases that are half taken out.
 *
 * Rejected: records of any length (one could cross a sector, and come back with either half), text (a torn line
 * can be a shorter, valid one).
 */
#include "layout/journal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"

#define PHASES_KNOWN \
	(1u << PHASE_DIRECTORIES | 1u << PHASE_OS | 1u << PHASE_OTHERS | 1u << PHASE_LINKS | 1u << PHASE_METADATA)
#define SUMMED offsetof(struct ply_disk_journal_record, xxh3)

_Static_assert(PHASE_DIRECTORIES == 1 && PHASE_OS == 2 && PHASE_OTHERS == 3 && PHASE_LINKS == 4 && PHASE_METADATA == 5,
	       "numbers of phases are on the disk");

void journal_encode(enum journal_type type, uint64_t seq, uint32_t phase, const uint8_t *digest,
		    uint8_t out[JOURNAL_RECORD])
{
	struct ply_disk_journal_record r = { .length = le32_put(JOURNAL_RECORD), .type = le32_put(type),
					     .seq = le64_put(seq), .end = '\n' };

	if (digest)
		memcpy(r.u.digest, digest, sizeof(r.u.digest));
	else
		r.u.phase = le32_put(phase);
	r.xxh3 = le64_put(xxh3(&r, SUMMED, 0));
	memcpy(out, &r, sizeof(r));
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static int bad(struct ply_err *err, int code, uint64_t seq, const char *what)
{
	return ply_fail(err, code, PLY_R_STATE_DAMAGED, "record %llu %s", (unsigned long long)seq, what);
}

/* Does it say what can be said after what @j has? */
static int apply(struct journal *j, const struct ply_disk_journal_record *r, struct ply_err *err)
{
	uint32_t phase = le32_get(r->u.phase), type = le32_get(r->type), bit;
	bool is_phase = type == JOURNAL_PHASE_BEGUN || type == JOURNAL_PHASE_COMMITTED;

	if ((type == JOURNAL_BEGIN) != !j->nrecords)
		return bad(err, -EUCLEAN, j->nrecords, "is out of place");
	if (type == JOURNAL_BEGIN) {
		memcpy(j->digest, r->u.digest, sizeof(j->digest));
		j->started = true;
		return 0;
	}
	if (type == JOURNAL_REDUCING) {
		if (j->reducing || j->complete || j->aborting || !journal_has(j->committed, PHASE_OS))
			return bad(err, -EUCLEAN, j->nrecords, "reduces what cannot be reduced");
		memcpy(j->reduced, r->u.digest, sizeof(j->reduced));
		j->reducing = true;
		return 0;
	}
	if (!is_zero(r->u.digest + (is_phase ? sizeof(le32) : 0), sizeof(r->u.digest) - (is_phase ? sizeof(le32) : 0)))
		return bad(err, -EUCLEAN, j->nrecords, "has reserved bytes that are not zero");
	if (j->aborting || (j->complete && type != JOURNAL_ABORTING))
		return bad(err, -EUCLEAN, j->nrecords, "stands behind the end");
	if (j->reducing && type != JOURNAL_REDUCED && type != JOURNAL_ABORTING)
		return bad(err, -EUCLEAN, j->nrecords, "stands where components are being taken out");
	if (is_phase && (phase > PHASE_METADATA || !journal_has(PHASES_KNOWN, (enum layout_phase)phase)))
		return bad(err, -EUCLEAN, j->nrecords, "is about a phase that there is not");
	bit = is_phase ? 1u << phase : 0;
	switch (type) {
	case JOURNAL_PHASE_BEGUN:
		if (j->committed & bit)
			return bad(err, -EUCLEAN, j->nrecords, "begins a phase that is committed");
		j->begun |= bit;
		return 0;
	case JOURNAL_PHASE_COMMITTED:
		/* each commits what all before it have written */
		if (!(j->begun & bit) || ((bit - 2) & ~j->committed))
			return bad(err, -EUCLEAN, j->nrecords, "commits a phase whose turn it is not");
		j->committed |= bit;
		return 0;
	case JOURNAL_COMPLETE:
		if (j->committed != PHASES_KNOWN)
			return bad(err, -EUCLEAN, j->nrecords, "says complete, and a phase is not");
		j->complete = true;
		return 0;
	case JOURNAL_ABORTING:
		j->aborting = true;
		return 0;
	case JOURNAL_REDUCED:
		if (!j->reducing)
			return bad(err, -EUCLEAN, j->nrecords, "ends what was not begun");
		j->reducing = false;
		memcpy(j->digest, j->reduced, sizeof(j->digest));
		j->committed &= 1u << PHASE_DIRECTORIES | 1u << PHASE_OS;
		j->begun = j->committed | 1u << PHASE_OTHERS;
		return 0;
	case JOURNAL_APPLIED:
		if (j->begun)
			return bad(err, -EUCLEAN, j->nrecords, "is of a change, and this is a layout");
		j->complete = true;
		return 0;
	}
	return bad(err, -EUCLEAN, j->nrecords, "has a type that this version does not know");
}

static int parse_record(struct journal *j, const uint8_t *at, struct ply_err *err)
{
	struct ply_disk_journal_record r;

	memcpy(&r, at, sizeof(r));
	if (le64_get(r.xxh3) != xxh3(&r, SUMMED, 0))
		return bad(err, -EBADMSG, j->nrecords, "has another checksum");
	if (r.end != '\n' || !is_zero(r.zero, sizeof(r.zero)))
		return bad(err, -EUCLEAN, j->nrecords, "has no end");
	if (le32_get(r.length) != JOURNAL_RECORD || le64_get(r.seq) != j->nrecords)
		return bad(err, -EUCLEAN, j->nrecords, "has another length or number");
	return apply(j, &r, err);
}

int journal_parse(const uint8_t *bytes, size_t len, struct journal *ret, struct ply_err *err)
{
	struct journal j = { 0 };

	if (len > JOURNAL_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "is longer than a journal gets");
	for (; len - j.len >= JOURNAL_RECORD; j.len += JOURNAL_RECORD) {
		const uint8_t *at = bytes + j.len;
		int r;

		if (is_zero(at + JOURNAL_RECORD - 1, len - j.len - JOURNAL_RECORD + 1))
			break;             /* torn: see the head */
		r = parse_record(&j, at, err);
		if (r < 0)
			return r;
		j.nrecords++;
	}
	*ret = j;
	return 0;
}

/* --- the plan ------------------------------------------------------------------------------- */

static void encode_head(const struct saved *s, struct ply_disk_layout_plan *d)
{
	const struct limits *l = &s->limits;
	uint64_t lacks = 0;

	for (int f = 0; f < FIELD_COUNT; f++)
		lacks |= (uint64_t)l->lacks[f] << f;
	*d = (struct ply_disk_layout_plan){
		.version = le32_put(1),
		.flags = le32_put((s->lossy ? SAVED_LOSSY : 0u) | (s->allow_partial ? SAVED_ALLOW_PARTIAL : 0u) |
				  (s->map_owner ? SAVED_MAP_OWNER : 0u) | (l->creates_mode ? SAVED_CREATES_MODE : 0u)),
		.generation = le64_put(s->generation),
		.uid = le32_put(s->uid), .gid = le32_put(s->gid),
		.map_uid = le32_put(s->map_uid), .map_gid = le32_put(s->map_gid),
		.lacks = le64_put(lacks),
		.time_min = le64_put((uint64_t)l->time_min), .time_max = le64_put((uint64_t)l->time_max),
		.file_size = le64_put(l->file_size), .symlink_len = le64_put(l->symlink_len),
		.name_len = le64_put(l->name_len), .links = le64_put(l->links),
		.time_step_ns = le32_put(l->time_step_ns),
		.new_uid = le32_put(l->uid), .new_gid = le32_put(l->gid),
		.root_mode = le32_put(s->root_mode),
		.root_uid = le32_put(s->root_uid), .root_gid = le32_put(s->root_gid),
		.root_atime = le64_put((uint64_t)s->root_times[0].tv_sec),
		.root_mtime = le64_put((uint64_t)s->root_times[1].tv_sec),
		.root_atime_ns = le32_put((uint32_t)s->root_times[0].tv_nsec),
		.root_mtime_ns = le32_put((uint32_t)s->root_times[1].tv_nsec),
		.nnames = le32_put(s->nnames), .ndecisions = le32_put(s->ndecisions),
		.nowners = le32_put(s->nowners),
		.image_len = le32_put((uint32_t)strlen(s->image)), .names_len = le32_put((uint32_t)s->names_len),
		.acl_len = { le32_put(s->acl_len[0]), le32_put(s->acl_len[1]) },
	};
	memcpy(d->magic, SAVED_MAGIC, sizeof(d->magic));
	memcpy(d->digest, s->digest, sizeof(d->digest));
	memcpy(d->uuid, s->uuid, sizeof(d->uuid));
	memcpy(d->catalog, s->catalog, sizeof(d->catalog));
}

static int encode_tables(const struct saved *s, struct buf *out)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->ndecisions; i++) {
		const struct ply_decision *x = &s->decisions[i];

		r = buf_add(out, &(struct ply_disk_saved_decision){ le64_put(x->a), le64_put(x->b), le32_put(x->rule),
								    le32_put(x->driver) },
			    sizeof(struct ply_disk_saved_decision));
	}
	for (uint32_t i = 0; r == 0 && i < s->nowners; i++) {
		const struct saved_owner *x = &s->owners[i];

		r = buf_add(out, &(struct ply_disk_saved_owner){ le32_put(x->sub), le32_put(x->row), le32_put(x->uid),
								 le32_put(x->gid) },
			    sizeof(struct ply_disk_saved_owner));
	}
	if (r == 0)
		r = buf_add(out, s->image, strlen(s->image));
	if (r == 0 && s->names_len)
		r = buf_add(out, s->names, s->names_len);
	for (int i = 0; r == 0 && i < 2; i++)
		if (s->acl_len[i])
			r = buf_add(out, s->acl[i], s->acl_len[i]);
	return r;
}

int saved_encode(const struct saved *s, struct buf *out)
{
	struct ply_disk_layout_plan head;
	le64 sum;
	int r;

	encode_head(s, &head);
	r = buf_add(out, &head, sizeof(head));
	if (r == 0)
		r = encode_tables(s, out);
	if (r < 0)
		return r;
	head.length = le64_put(out->len + sizeof(sum));
	memcpy(out->data + offsetof(struct ply_disk_layout_plan, length), &head.length, sizeof(head.length));
	sum = le64_put(xxh3(out->data, out->len, 0));
	return buf_add(out, &sum, sizeof(sum));
}

static int bad_plan(struct ply_err *err, int code, const char *what)
{
	return ply_fail(err, code, PLY_R_STATE_DAMAGED, "%s", what);
}

static int decode_head(const struct ply_disk_layout_plan *d, struct saved *s, struct ply_err *err)
{
	struct limits *l = &s->limits;
	uint64_t lacks = le64_get(d->lacks);
	uint32_t flags = le32_get(d->flags);

	if (flags & ~(uint32_t)SAVED_FLAGS || lacks >> FIELD_COUNT || le32_get(d->zero))
		return bad_plan(err, -EUCLEAN, "has flags that this version does not know");
	for (int f = 0; f < FIELD_COUNT; f++)
		l->lacks[f] = lacks >> f & 1;
	s->lossy = flags & SAVED_LOSSY;
	s->allow_partial = flags & SAVED_ALLOW_PARTIAL;
	s->map_owner = flags & SAVED_MAP_OWNER;
	l->creates_mode = flags & SAVED_CREATES_MODE;
	memcpy(s->digest, d->digest, sizeof(s->digest));
	memcpy(s->uuid, d->uuid, sizeof(s->uuid));
	memcpy(s->catalog, d->catalog, sizeof(s->catalog));
	s->generation = le64_get(d->generation);
	s->uid = le32_get(d->uid);
	s->gid = le32_get(d->gid);
	s->map_uid = le32_get(d->map_uid);
	s->map_gid = le32_get(d->map_gid);
	l->time_min = (int64_t)le64_get(d->time_min);
	l->time_max = (int64_t)le64_get(d->time_max);
	l->time_step_ns = le32_get(d->time_step_ns);
	l->file_size = le64_get(d->file_size);
	l->symlink_len = le64_get(d->symlink_len);
	l->name_len = le64_get(d->name_len);
	l->links = le64_get(d->links);
	l->uid = le32_get(d->new_uid);
	l->gid = le32_get(d->new_gid);
	s->root_mode = le32_get(d->root_mode);
	s->root_uid = le32_get(d->root_uid);
	s->root_gid = le32_get(d->root_gid);
	s->root_times[0] = (struct timespec){ (int64_t)le64_get(d->root_atime), le32_get(d->root_atime_ns) };
	s->root_times[1] = (struct timespec){ (int64_t)le64_get(d->root_mtime), le32_get(d->root_mtime_ns) };
	if (!l->time_step_ns || l->time_step_ns > 1000000000 || s->root_mode > 07777 ||
	    s->root_times[0].tv_nsec >= 1000000000 || s->root_times[1].tv_nsec >= 1000000000)
		return bad_plan(err, -EUCLEAN, "has a time or mode that there is not");
	return 0;
}

/* A copy with a NUL behind. */
static void *copy(const uint8_t *bytes, size_t len)
{
	uint8_t *p = malloc(len + 1);

	if (p) {
		memcpy(p, bytes, len);
		p[len] = '\0';
	}
	return p;
}

static int decode_decisions(const uint8_t *at, struct saved *s, struct ply_err *err)
{
	s->decisions = calloc((size_t)s->ndecisions + 1, sizeof(*s->decisions));
	if (!s->decisions)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->ndecisions; i++) {
		struct ply_disk_saved_decision d;

		memcpy(&d, at + i * sizeof(d), sizeof(d));
		if (le32_get(d.rule) > UINT8_MAX || le32_get(d.driver) > UINT16_MAX)
			return bad_plan(err, -EUCLEAN, "has a decision that there is not");
		s->decisions[i] = (struct ply_decision){ le64_get(d.a), le64_get(d.b), (uint8_t)le32_get(d.rule),
							 (uint16_t)le32_get(d.driver) };
	}
	return 0;
}

static int decode_owners(const uint8_t *at, struct saved *s, struct ply_err *err)
{
	s->owners = calloc((size_t)s->nowners + 1, sizeof(*s->owners));
	if (!s->owners)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->nowners; i++) {
		struct ply_disk_saved_owner d;

		memcpy(&d, at + i * sizeof(d), sizeof(d));
		s->owners[i] = (struct saved_owner){ le32_get(d.sub), le32_get(d.row), le32_get(d.uid), le32_get(d.gid) };
	}
	return 0;
}

static int decode_texts(const struct ply_disk_layout_plan *d, const uint8_t *at, struct saved *s, struct ply_err *err)
{
	size_t image_len = le32_get(d->image_len), nuls = 0;

	s->image = copy(at, image_len);
	at += image_len;
	s->names = copy(at, s->names_len);
	if (!s->image || !s->names)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < s->names_len; i++)
		nuls += !at[i];
	if (strlen(s->image) != image_len || nuls != s->nnames || (s->names_len && at[s->names_len - 1]))
		return bad_plan(err, -EUCLEAN, "has names that are none");
	at += s->names_len;
	for (int i = 0; i < 2; i++) {
		s->acl_len[i] = le32_get(d->acl_len[i]);
		if (s->acl_len[i] && !(s->acl[i] = copy(at, s->acl_len[i])))
			return ply_fail_nomem(err);
		at += s->acl_len[i];
	}
	return 0;
}

int saved_decode(const uint8_t *bytes, size_t len, struct saved *ret, struct ply_err *err)
{
	struct ply_disk_layout_plan d;
	const uint8_t *at = bytes + sizeof(d);
	struct saved s = { 0 };
	uint64_t want;
	le64 sum;
	int r;

	if (len < sizeof(d) + sizeof(sum) || len > SAVED_MAX || memcmp(bytes, SAVED_MAGIC, sizeof(d.magic)) != 0)
		return bad_plan(err, -EUCLEAN, "is no plan of a layout");
	memcpy(&d, bytes, sizeof(d));
	if (le32_get(d.version) != 1)
		return bad_plan(err, -EOPNOTSUPP, "is of another version of plyfs");
	memcpy(&sum, bytes + len - sizeof(sum), sizeof(sum));
	if (le64_get(sum) != xxh3(bytes, len - sizeof(sum), 0))
		return bad_plan(err, -EBADMSG, "has another checksum");
	s.nnames = le32_get(d.nnames);
	s.ndecisions = le32_get(d.ndecisions);
	s.nowners = le32_get(d.nowners);
	s.names_len = le32_get(d.names_len);
	/* each term is below 2^37: no sum overflows */
	want = sizeof(d) + (uint64_t)s.ndecisions * sizeof(struct ply_disk_saved_decision) +
	       (uint64_t)s.nowners * sizeof(struct ply_disk_saved_owner) + le32_get(d.image_len) + s.names_len +
	       le32_get(d.acl_len[0]) + le32_get(d.acl_len[1]) + sizeof(sum);
	if (want != len || le64_get(d.length) != len)
		return bad_plan(err, -EUCLEAN, "has another length");
	r = decode_head(&d, &s, err);
	if (r == 0)
		r = decode_decisions(at, &s, err);
	at += s.ndecisions * sizeof(struct ply_disk_saved_decision);
	if (r == 0)
		r = decode_owners(at, &s, err);
	at += s.nowners * sizeof(struct ply_disk_saved_owner);
	if (r == 0)
		r = decode_texts(&d, at, &s, err);
	if (r < 0)
		saved_done(&s);
	else
		*ret = s;
	return r;
}

const char *saved_name(const struct saved *s, const char *before)
{
	const char *next = before ? before + strlen(before) + 1 : s->names;

	return next && next < s->names + s->names_len ? next : NULL;
}

void saved_done(struct saved *s)
{
	free(s->image);
	free(s->names);
	free(s->decisions);
	free(s->owners);
	free(s->acl[0]);
	free(s->acl[1]);
	*s = (struct saved){ 0 };
}
