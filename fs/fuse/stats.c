/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a daemon says about itself: see stats.h. */
#include "stats.h"

#include <errno.h>
#include <unistd.h>

#include "base/util.h"
#include "cache/cache.h"
#include "redo/redo.h"
#include "serve.h"
#include "tree/view_internal.h"

static const char *const names[OPCODE_MAX] = {
#define X(name, number) [number] = #name,
	OPCODES(X)
#undef X
};

static int line(struct buf *out, const char *key, uint64_t value)
{
	return buf_printf(out, "%s %llu\n", key, (unsigned long long)value);
}

struct row {
	const char *key;
	uint64_t value;
};

static int rows(struct buf *out, const struct row *row, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = line(out, row[i].key, row[i].value);
	return r;
}

static int of_image(struct ply_view *view, struct buf *out)
{
	const struct ply_image *image = ply_view_image(view);
	struct cache_stats cache;
	int r = line(out, "pid", (uint64_t)getpid());

	if (r == 0)
		r = line(out, "generation", ply_image_generation(image)->generation);
	for (uint32_t i = 0; r == 0 && i < ply_view_nsubs(view); i++)
		r = buf_printf(out, "selected %s\n", ply_image_sub_info(image, ply_view_sub(view, i))->name);
	cache_stats(view_cache(view), &cache);
	const struct row of_cache[] = {
		{ "cache_bytes", cache.bytes }, { "cache_hits", cache.hits }, { "cache_misses", cache.misses },
	};
	return r == 0 ? rows(out, of_cache, ARRAY_SIZE(of_cache)) : r;
}

static int of_requests(const struct serve *serve, struct buf *out)
{
	uint64_t counts[OPCODE_MAX], all = 0, read_bytes, write_bytes;
	int r;

	serve_counts(serve, counts);
	serve_bytes(serve, &read_bytes, &write_bytes);
	for (size_t i = 0; i < OPCODE_MAX; i++)
		all += counts[i];
	const struct row sums[] = { { "read_bytes", read_bytes }, { "write_bytes", write_bytes }, { "requests", all } };
	r = rows(out, sums, ARRAY_SIZE(sums));
	for (size_t i = 0; r == 0 && i < OPCODE_MAX; i++)
		if (counts[i])
			r = buf_printf(out, "request %s %llu\n", names[i] ? names[i] : "OTHER",
				       (unsigned long long)counts[i]);
	return r;
}

static int of_log(struct redo *log, struct buf *out)
{
	struct redo_info i;

	redo_info(log, &i);
	const struct row all[] = {
		{ "log_writable", i.writable },
		{ "log_removed", redo_check_name(log, NULL) < 0 },
		{ "log_size_bytes", i.size },
		{ "log_live_bytes", i.data_live },
		{ "log_dead_bytes", i.data_dead },
		{ "log_record_bytes", i.tail_lsn },
		{ "log_unindexed_bytes", redo_since_checkpoint(log) },
		{ "log_inodes", i.inodes },
		{ "log_entries", i.entries },
		{ "log_extents", i.extents },
		{ "log_commits", i.commits },
		{ "log_syncs", i.flushes },
		{ "log_sync_ns", i.flush_ns },
		{ "log_sync_max_ns", i.flush_max_ns },
	};
	return rows(out, all, ARRAY_SIZE(all));
}

int stats_text(const struct serve *serve, struct ply_view *view, struct redo *log, struct buf *out)
{
	int r = of_image(view, out);

	if (r == 0)
		r = of_requests(serve, out);
	return r == 0 && log ? of_log(log, out) : r;
}
