/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLYFS_VERSION_H
#define PLYFS_VERSION_H

#define PLYFS_VERSION "0.1"

#endif
