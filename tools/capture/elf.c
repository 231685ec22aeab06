/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program's needs from its program headers, as the loader reads them: PT_DYNAMIC is a
 * list of (tag, value); strings lie at DT_STRTAB, an address that a PT_LOAD maps to the
 * file. Section headers are not used: strip may take them away. Both classes and byte
 * orders. Reference: the System V ABI, chapters 4 and 5.
 *
 * Everything is bounded before it is read: 64 program headers, 1024 dynamic entries, strings of
 * 4095 bytes. Damage is no error: a file that is not a program needs nothing.
 */
#include "capture/elf.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"

#define HEADERS_MAX 64u
#define DYNAMIC_MAX 1024u
#define STRING_MAX  4096u

struct elf {
	elf_read_fn read;
	elf_word_fn fn;
	void *ctx;
	bool wide, big;            /* 64 bits; big-endian */
	struct {
		uint64_t addr, off, len;
	} loads[HEADERS_MAX];
	unsigned nloads;
	uint64_t dynamic_off, dynamic_len;
	uint64_t interp_off, interp_len;
};

static uint64_t number(const struct elf *e, const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << 8 * (e->big ? bytes - 1 - i : i);
	return v;
}

static void read_header(struct elf *e, const uint8_t *p)
{
	unsigned word = e->wide ? 8 : 4;
	uint64_t type = number(e, p, 4);
	uint64_t off = number(e, p + (e->wide ? 8 : 4), word);
	uint64_t addr = number(e, p + (e->wide ? 16 : 8), word);
	uint64_t len = number(e, p + (e->wide ? 32 : 16), word);

	if (type == PT_DYNAMIC) {
		e->dynamic_off = off;
		e->dynamic_len = len;
	} else if (type == PT_INTERP) {
		e->interp_off = off;
		e->interp_len = len;
	} else if (type == PT_LOAD && e->nloads < HEADERS_MAX) {
		e->loads[e->nloads].off = off;
		e->loads[e->nloads].addr = addr;
		e->loads[e->nloads++].len = len;
	}
}

/* The file's offset of an address; UINT64_MAX: no segment has it. */
static uint64_t offset_of(const struct elf *e, uint64_t addr)
{
	for (unsigned i = 0; i < e->nloads; i++)
		if (addr >= e->loads[i].addr && addr - e->loads[i].addr < e->loads[i].len &&
		    e->loads[i].off <= UINT64_MAX / 2)
			return e->loads[i].off + (addr - e->loads[i].addr);
	return UINT64_MAX;
}

/* A string may lie close to the end of the file: it is read in small pieces. */
static bool read_string(const struct elf *e, uint64_t off, char *out)
{
	for (size_t n = 0; n < STRING_MAX; n += 32) {
		size_t want = 32;

		while (want && e->read(e->ctx, off + n, out + n, want) < 0)
			want /= 2;
		if (!want)
			return false;
		if (memchr(out + n, '\0', want))
			return true;
		if (want < 32)
			n -= 32 - want;
	}
	return false;
}

static int tell(const struct elf *e, const uint8_t *dynamic, unsigned n, uint64_t strings, bool paths)
{
	unsigned word = e->wide ? 8 : 4;
	char text[STRING_MAX];

	for (unsigned i = 0; i < n; i++) {
		uint64_t tag = number(e, dynamic + 2 * word * i, word);
		uint64_t value = number(e, dynamic + 2 * word * i + word, word);
		bool is_path = tag == DT_RPATH || tag == DT_RUNPATH;
		int r;

		if (tag == DT_NULL)
			break;
		if ((tag != DT_NEEDED && !is_path) || is_path != paths || value > UINT32_MAX ||
		    strings > UINT64_MAX / 2 || !read_string(e, strings + value, text))
			continue;
		r = e->fn(e->ctx, (enum elf_word)tag, text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_dynamic(struct elf *e)
{
	unsigned word = e->wide ? 8 : 4;
	uint8_t dynamic[DYNAMIC_MAX * 16];
	uint64_t strings = UINT64_MAX;
	unsigned n = (unsigned)MIN(e->dynamic_len / (2 * word), DYNAMIC_MAX);
	int r;

	if (!n || e->read(e->ctx, e->dynamic_off, dynamic, (size_t)n * 2 * word) < 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (number(e, dynamic + 2 * word * i, word) == DT_STRTAB)
			strings = offset_of(e, number(e, dynamic + 2 * word * i + word, word));
	if (strings == UINT64_MAX)
		return 0;
	r = tell(e, dynamic, n, strings, true);
	return r < 0 ? r : tell(e, dynamic, n, strings, false);
}

/* Program headers. 1, or 0: it is no ELF file, or damaged. */
static int read_headers(struct elf *e, struct elf_kind *ret)
{
	uint8_t head[64] = { 0 }, row[56];
	uint64_t table;
	unsigned size, n;

	if (e->read(e->ctx, 0, head, 52) < 0 || memcmp(head, ELFMAG, SELFMAG))
		return 0;
	e->wide = head[EI_CLASS] == ELFCLASS64;
	e->big = head[EI_DATA] == ELFDATA2MSB;
	if (e->wide && e->read(e->ctx, 0, head, 64) < 0)
		return 0;
	*ret = (struct elf_kind){ head[EI_CLASS], head[EI_DATA], (uint16_t)number(e, head + 18, 2) };
	table = number(e, head + (e->wide ? 32 : 28), e->wide ? 8 : 4);
	size = (unsigned)number(e, head + (e->wide ? 54 : 42), 2);
	n = (unsigned)number(e, head + (e->wide ? 56 : 44), 2);
	if (size < (e->wide ? 56 : 32) || n > HEADERS_MAX || table > UINT32_MAX)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		if (e->read(e->ctx, table + (uint64_t)i * size, row, e->wide ? 56 : 32) < 0)
			return 0;
		read_header(e, row);
	}
	return 1;
}

int elf_words(elf_read_fn read, elf_word_fn fn, void *ctx)
{
	struct elf e = { .read = read, .fn = fn, .ctx = ctx };
	struct elf_kind kind;

	return read_headers(&e, &kind) ? read_dynamic(&e) : 0;
}

int elf_look(elf_read_fn read, void *ctx, struct elf_kind *ret, char *interp)
{
	struct elf e = { .read = read, .ctx = ctx };
	struct elf_kind kind;

	if (!read_headers(&e, &kind))
		return 0;
	*ret = kind;
	if (!interp)
		return 1;
	*interp = '\0';
	if (e.interp_len && e.interp_len < STRING_MAX && e.interp_off <= UINT64_MAX / 2 &&
	    read(ctx, e.interp_off, interp, (size_t)e.interp_len) == 0)
		interp[e.interp_len] = '\0';
	else
		*interp = '\0';
	return 1;
}

const char *elf_multiarch(const struct elf_kind *kind)
{
	static const struct {
		struct elf_kind kind;
		const char *name;
	} known[] = {
		{ { ELFCLASS64, ELFDATA2LSB, EM_X86_64 }, "x86_64-linux-gnu" },
		{ { ELFCLASS32, ELFDATA2LSB, EM_X86_64 }, "x86_64-linux-gnux32" },
		{ { ELFCLASS32, ELFDATA2LSB, EM_386 }, "i386-linux-gnu" },
		{ { ELFCLASS64, ELFDATA2LSB, EM_AARCH64 }, "aarch64-linux-gnu" },
		{ { ELFCLASS32, ELFDATA2LSB, EM_ARM }, "arm-linux-gnueabihf" },
		{ { ELFCLASS64, ELFDATA2LSB, EM_RISCV }, "riscv64-linux-gnu" },
		{ { ELFCLASS64, ELFDATA2LSB, EM_PPC64 }, "powerpc64le-linux-gnu" },
		{ { ELFCLASS64, ELFDATA2MSB, EM_S390 }, "s390x-linux-gnu" },
		{ { ELFCLASS64, ELFDATA2LSB, EM_MIPS }, "mips64el-linux-gnuabi64" },
		{ { ELFCLASS64, ELFDATA2LSB, 258 /* LoongArch */ }, "loongarch64-linux-gnu" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (kind->elf_class == known[i].kind.elf_class && kind->data == known[i].kind.data &&
		    kind->machine == known[i].kind.machine)
			return known[i].name;
	return "";
}
