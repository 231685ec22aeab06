/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: words of a command line, each ended by a NUL: as options and operands of a verb with
 * every type of option, as -o, as a size, as a selection.
 */
#include <stdio.h>

#include "fuzz.h"

static FILE *null;
#undef stderr
#undef printf
#undef stdout
#define stderr null
#define stdout null
#define printf(...) fprintf(null, __VA_ARGS__)
#define putchar(c) putc(c, null)
#include "cli.c"
#define set set_mount_option
#include "fuse/options.c"
#undef set

#define WORDS_MAX 32

static void parse_words(char **words, int n)
{
	struct cli_list list = { 0 }, names = { 0 };
	const char *text = NULL;
	unsigned number = 0;
	bool flag = false;
	uint64_t size = 0;
	const struct cli_opt opts[] = {
		{ "flag", 'f', NULL, "flag", CLI_FLAG, &flag },
		{ "text", 't', "TEXT", "text", CLI_TEXT, &text },
		{ "number", 'n', "N", "number", CLI_NUMBER, &number },
		{ "size", 0, "SIZE", "size", CLI_SIZE, &size },
		{ "list", 'l', "TEXT", "list", CLI_LIST, &list },
		{ "select", 's', "NAMES", "names, a line that is long enough to be wrapped at its blanks, twice",
		  CLI_NAMES, &names },
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "verb", "IMAGE [PATH]", "Does nothing.", opts, 1, 2 };
	struct cli_args args;

	if (cli_parse(&spec, n, words, &args) < 0)
		for (int i = 0; i < args.n; i++)
			touch(args.v[i], strlen(args.v[i]));
	for (size_t i = 0; i < names.n; i++)
		if (!*names.v[i] || strchr(names.v[i], ','))
			abort();
	cli_list_done(&list);
	cli_list_done(&names);
	cli_json = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *words[WORDS_MAX + 1] = { strdup("plyfs") };
	struct input in = { data, size };
	struct ply_err err;
	int n = 1;

	if (!null)
		null = fopen("/dev/null", "w");
	if (!null)
		abort();
	while (in.left && n < WORDS_MAX) {
		struct options o = { 0 };
		uint64_t bytes;

		words[n] = input_text(&in, 0);
		if (options_parse(words[n], &o, &err) == 0)
			options_complete(&o, n & 1, &err);
		parse_size(words[n], &bytes);
		n++;
	}
	{
		/* getopt permutes: what is freed are our own */
		char *view[WORDS_MAX + 1];

		memcpy(view, words, sizeof(view));
		parse_words(view, n);
	}
	for (int i = 0; i < n; i++)
		free(words[i]);
	return 0;
}
