/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a daemon says about itself: lines "KEY VALUE", as the xattr MNT_STATS_XATTR of the root of its mount (not
 * listed, read by plyfs stats), and as the begin of the answer on the control socket.
 *
 *   pid PID
 *   generation N                of the image
 *   selected NAME               for each sub-image
 *   cache_bytes BYTES           of decoded blocks that are kept,
 *   cache_hits N                and how often one was there, or was not
 *   cache_misses N
 *   read_bytes N                that READ asked for
 *   write_bytes N               that came with WRITE
 *   requests ALL
 *   request NAME COUNT          for each kind that came, by the FUSE protocol's names
 *
 * and of the mount of a log, or a volatile one, what redo_info() says about the log:
 *
 *   log_writable 0|1            0: frozen, on a read-only disk, damaged, or a sync failed
 *   log_removed 0|1             1: its file has no name any more, and is gone when the mount ends
 *   log_size_bytes BYTES        of the file, holes included
 *   log_live_bytes BYTES        of data that files refer to, and
 *   log_dead_bytes BYTES        of data that is not given back yet
 *   log_record_bytes BYTES      since it was made, and
 *   log_unindexed_bytes BYTES   since its last checkpoint
 *   log_inodes N, log_entries N, log_extents N      one line each
 *   log_commits N               calls that had to wait for a sync,
 *   log_syncs N                 syncs that were made,
 *   log_sync_ns N               how long they took together, and
 *   log_sync_max_ns N           the longest
 */
#ifndef PLYFS_FUSE_STATS_H
#define PLYFS_FUSE_STATS_H

#include "base/buf.h"
#include "plyfs/view.h"

struct redo;
struct serve;

/* Adds to @out. @log: NULL where the mount is not writable. -ENOMEM. */
int stats_text(const struct serve *serve, struct ply_view *view, struct redo *log, struct buf *out);

#endif
