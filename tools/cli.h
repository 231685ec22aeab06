/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all verbs share: options as tables, errors, JSON, exit codes.
 *
 * A verb is one function in tools/cmd_VERB.c:
 *
 *   int cmd_ls(int argc, char **argv)
 *   {
 *           bool recursive = false;
 *           const struct cli_opt opts[] = {
 *                   { "recursive", 'R', NULL, "list directories too", CLI_FLAG, &recursive },
 *                   CLI_END
 *           };
 *           const struct cli_spec spec = { "ls", "IMAGE [PATH]", "List ...", opts, 1, 2 };
 *           struct cli_args args;
 *           int code = cli_parse(&spec, argc, argv, &args);
 *
 *           if (code >= 0)
 *                   return code;            (--help was printed, or bad usage told)
 *           ...
 *           return cli_fail(&err);          (prints, gives the exit code)
 *   }
 *
 * The same tables print --help, which the tests compare with man page and completion.
 */
#ifndef PLYFS_CLI_H
#define PLYFS_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"

/* Exit codes: a contract. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DECISION = 3,         /* a conflict needs a decision; nothing was written */
	EXIT_DAMAGE = 4,           /* damage was found */
};

enum cli_type {
	CLI_FLAG,                  /* bool: set true */
	CLI_TEXT,                  /* const char *: borrowed from argv; the last one counts */
	CLI_NUMBER,                /* unsigned: decimal */
	CLI_SIZE,                  /* uint64_t: 64M */
	CLI_LIST,                  /* struct cli_list: each one is kept, in order */
	CLI_NAMES,                 /* struct cli_list: split at commas */
};

struct cli_list {
	const char **v;
	size_t n, cap;
};
void cli_list_done(struct cli_list *l);   /* what cli_parse() put into it */
int cli_list_add(struct cli_list *l, const char *text);   /* borrowed; -ENOMEM */
#define _cleanup_list_ __attribute__((cleanup(cli_list_done)))

struct cli_opt {
	const char *name;          /* long, without "--" */
	char letter;               /* 0: none */
	const char *arg;           /* name of its argument in the help; NULL: none */
	const char *help;
	enum cli_type type;
	void *to;
};
#define CLI_END { NULL, 0, NULL, NULL, CLI_FLAG, NULL }

/* Every verb that reports has it: sets cli_json. */
#define CLI_JSON { "json", 0, NULL, "print JSON", CLI_FLAG, &cli_json }
extern bool cli_json;

struct cli_spec {
	const char *verb;
	const char *operands;      /* as in the usage line */
	const char *about;         /* one line */
	const struct cli_opt *opts;
	int min, max;              /* operands; max < 0: any number */
};

struct cli_args {
	char **v;                  /* operands: borrowed from argv */
	int n;
};

/* -1: go on. Else the verb's exit code: help was printed, or the usage was wrong. Options and
 * operands may be mixed; "--" ends the options. */
int cli_parse(const struct cli_spec *spec, int argc, char **argv, struct cli_args *ret);

/* "plyfs VERB: MESSAGE" on stderr, with --json as an object on stdout too; returns the exit code
 * that the reason calls for. */
int cli_fail(const struct ply_err *err);
int cli_exit_code(const struct ply_err *err);
json_t *cli_json_error(const struct ply_err *err);   /* reason, message, exit */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* returns EXIT_USAGE */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* on stderr */

/* Add "schema": 1 and print @o on stdout; consumes it. NULL: says that memory is short. */
int cli_print_json(json_t *o);    /* EXIT_DONE or EXIT_FAILED */
/* A name or path of any bytes as JSON text: escaped as for people (\n, \\, \xHH). */
json_t *cli_json_name(const char *bytes, size_t len);
json_t *cli_json_hex(const void *bytes, size_t n);

#endif
