/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a capture would do: scan, split, print. */
#ifndef PLYFS_DRYRUN_H
#define PLYFS_DRYRUN_H

#include "capture/capture.h"

/* Uses root, wanted, exclude, one_file_system, counters of @o; @list: print each path with its
 * component too. The exit code of the verb. */
int capture_dry_run(const struct capture_options *o, bool list);

/* What is not in the image though it is in the tree, on stderr. */
void capture_tell_left_out(const struct capture_report *r, bool allow_partial);
/* Notes of the split, and what no rule took, on stderr. */
void capture_tell_split(const struct scan *scan, const struct split *split);

#endif
