/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options, help, errors and JSON of all verbs: see cli.h. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define OPTS_MAX 32

bool cli_json;
static const char *verb = "";      /* for messages: that of the last cli_parse() */

void cli_list_done(struct cli_list *l)
{
	free(l->v);
	*l = (struct cli_list){ 0 };
}

int cli_list_add(struct cli_list *l, const char *text)
{
	int r = array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v));

	if (r == 0)
		l->v[l->n++] = text;
	return r;
}

/* --- messages --------------------------------------------------------------- */

__attribute__((format(printf, 1, 0)))
static void complain(const char *fmt, va_list ap)
{
	char text[2048];

	vsnprintf(text, sizeof(text), fmt, ap);
	fprintf(stderr, "plyfs %s: ", verb);
	/* one line, whatever is in the names that it quotes */
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			fprintf(stderr, "\\x%02x", (unsigned char)*p);
		else
			putc(*p, stderr);
	}
	putc('\n', stderr);
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
}

int cli_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	fprintf(stderr, "try: plyfs %s --help\n", verb);
	return EXIT_USAGE;
}

int cli_exit_code(const struct ply_err *err)
{
	if (err->reason == PLY_R_USAGE)
		return EXIT_USAGE;
	if (err->reason == PLY_R_CONFLICT || err->reason == PLY_R_TARGET_LACKS || err->reason == PLY_R_COMPONENT_NEEDED)
		return EXIT_DECISION;
	switch (err->code) {
	case -EUCLEAN:
	case -EBADMSG:
		return EXIT_DAMAGE;
	}
	return EXIT_FAILED;
}

json_t *cli_json_error(const struct ply_err *err)
{
	return json_pack("{s:s,s:o,s:i}", "reason", ply_reason_name(err->reason), "message",
			 cli_json_name(err->msg, strlen(err->msg)), "exit", cli_exit_code(err));
}

int cli_fail(const struct ply_err *err)
{
	cli_note("%s", err->msg);
	if (cli_json)
		cli_print_json(json_pack("{s:o}", "error", cli_json_error(err)));
	return cli_exit_code(err);
}

int cli_print_json(json_t *o)
{
	json_t *first = json_pack("{s:i}", "schema", 1);
	int r = -1;

	if (o && first && json_object_update(first, o) == 0)
		r = json_dumpf(first, stdout, JSON_INDENT(1));
	json_decref(o);
	json_decref(first);
	if (r < 0) {
		cli_note("cannot print JSON: out of memory, or the output is closed");
		return EXIT_FAILED;
	}
	putchar('\n');
	return EXIT_DONE;
}

json_t *cli_json_name(const char *bytes, size_t len)
{
	char *text = escape_name(bytes, len);
	json_t *o = text ? json_string(text) : NULL;

	free(text);
	return o;
}

json_t *cli_json_hex(const void *bytes, size_t n)
{
	char *text = malloc(2 * n + 1);
	json_t *o = NULL;

	if (text) {
		hex_encode(bytes, n, text);
		o = json_string(text);
	}
	free(text);
	return o;
}

/* --- options ------------------------------------------------------------------ */

static void print_wrapped(const char *text, int at, int indent)
{
	while (*text) {
		size_t len = strlen(text), fits = (size_t)(79 - indent);

		printf("%*s", indent - at, "");
		at = 0;
		if (len > fits) {
			while (fits && text[fits] != ' ')
				fits--;
			len = fits ? fits : len;
		}
		printf("%.*s\n", (int)len, text);
		text += len;
		while (*text == ' ')
			text++;
	}
}

static void print_option(const struct cli_opt *o)
{
	char left[64];
	int at;

	at = o->letter ? snprintf(left, sizeof(left), "  -%c, ", o->letter) :
			 snprintf(left, sizeof(left), "      ");
	at += snprintf(left + at, sizeof(left) - (size_t)at, "--%s%s%s", o->name, o->arg ? "=" : "",
		       o->arg ? o->arg : "");
	fputs(left, stdout);
	if (at > 26) {
		putchar('\n');
		at = 0;
	}
	print_wrapped(o->help, at, 28);
}

static int print_help(const struct cli_spec *spec)
{
	static const struct cli_opt help = { "help", 'h', NULL, "print this help", CLI_FLAG, NULL };
	const struct cli_opt *o;

	printf("usage: plyfs %s [OPTION]... %s\n\n", spec->verb, spec->operands);
	print_wrapped(spec->about, 0, 0);
	printf("\noptions:\n");
	for (o = spec->opts; o->name; o++)
		print_option(o);
	print_option(&help);
	printf("\nExit codes: 0 done; 1 failed; 2 usage; 3 a decision is missing; 4 damage found.\n"
	       "See plyfs-%s(1).\n", spec->verb);
	return EXIT_DONE;
}

/* Split @text at its commas, in place: it is argv's. */
static int add_names(struct cli_list *l, char *text, const char *option)
{
	for (char *name; (name = strsep(&text, ","));) {
		if (!*name)
			return cli_usage("an empty name in the argument of %s", option);
		if (cli_list_add(l, name) < 0)
			return cli_usage("out of memory");
	}
	return -1;
}

static int set(const struct cli_opt *o, char *arg)
{
	unsigned long long number;
	char shown[48], *end;

	snprintf(shown, sizeof(shown), "--%s", o->name);
	switch (o->type) {
	case CLI_FLAG:
		*(bool *)o->to = true;
		return -1;
	case CLI_TEXT:
		*(const char **)o->to = arg;
		return -1;
	case CLI_NUMBER:
		errno = 0;
		number = strtoull(arg, &end, 10);
		if (errno || *arg < '0' || *arg > '9' || *end || number > UINT32_MAX)
			return cli_usage("%s takes a number, not '%s'", shown, arg);
		*(unsigned *)o->to = (unsigned)number;
		return -1;
	case CLI_SIZE:
		if (parse_size(arg, o->to) < 0)
			return cli_usage("%s takes a size such as 64M, not '%s'", shown, arg);
		return -1;
	case CLI_LIST:
		return cli_list_add(o->to, arg) < 0 ? cli_usage("out of memory") : -1;
	case CLI_NAMES:
		return add_names(o->to, arg, shown);
	}
	return -1;
}

int cli_parse(const struct cli_spec *spec, int argc, char **argv, struct cli_args *ret)
{
	struct option longs[OPTS_MAX + 2] = { 0 };
	char shorts[2 * OPTS_MAX + 4] = ":h";   /* a missing argument is told apart */
	size_t n = 0, s = strlen(shorts);
	int c, at, r = -1;

	verb = spec->verb;
	for (; n < OPTS_MAX && spec->opts[n].name; n++) {
		const struct cli_opt *o = &spec->opts[n];

		longs[n] = (struct option){ o->name, o->arg ? required_argument : no_argument, NULL,
					    256 + (int)n };
		if (o->letter) {
			shorts[s++] = o->letter;
			if (o->arg)
				shorts[s++] = ':';
		}
	}
	longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
	opterr = 0;
	optind = 0;
	while (r < 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == 'h')
			return print_help(spec);
		if (c == ':')
			return cli_usage("%s needs an argument", argv[optind - 1]);
		if (c == '?') {
			if (optopt >= 256)
				return cli_usage("--%s takes no argument", longs[optopt - 256].name);
			if (optopt)
				return cli_usage("there is no option -%c", optopt);
			return cli_usage("there is no option %s, or it is ambiguous", argv[optind - 1]);
		}
		for (at = 0; at < (int)n; at++)
			if (c == 256 + at || c == spec->opts[at].letter)
				break;
		r = set(&spec->opts[at], optarg);
	}
	if (r >= 0)
		return r;
	ret->v = argv + optind;
	ret->n = argc - optind;
	if (ret->n < spec->min)
		return cli_usage("an operand is missing: plyfs %s %s", spec->verb, spec->operands);
	if (spec->max >= 0 && ret->n > spec->max)
		return cli_usage("'%s' is one operand too many: plyfs %s %s", ret->v[spec->max],
				 spec->verb, spec->operands);
	return -1;
}
