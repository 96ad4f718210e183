/* Binaries of Intel's compiler: ELF with one section of instructions for each kernel (.text.NAME)
 * and one that says in YAML what they need (.ze_info). Source: the Level Zero project's zebin
 * specification; the bit of compacted instructions: Intel's programmer's reference manuals. */
#include "parts.h"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct section {
    const char *data;
    uint64_t size;
} section;

/* The first section whose name begins with `name`; its data is NULL where there is none. */
static section find(const char *file, uint64_t size, const char *name)
{
    Elf64_Ehdr head;
    Elf64_Shdr names, row;
    if (size < sizeof head) return (section){0};
    memcpy(&head, file, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_shentsize != sizeof row || head.e_shoff > size ||
        (uint64_t)head.e_shnum * sizeof row > size - head.e_shoff ||
        head.e_shstrndx >= head.e_shnum)
        return (section){0};
    const char *table = file + head.e_shoff;
    memcpy(&names, table + head.e_shstrndx * sizeof row, sizeof row);
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        memcpy(&row, table + i * sizeof row, sizeof row);
        const uint64_t at = names.sh_offset + row.sh_name;
        if (names.sh_offset > size || at > size || row.sh_offset > size ||
            row.sh_size > size - row.sh_offset || strlen(name) > size - at)
            continue;
        if (strncmp(file + at, name, strlen(name)) == 0)
            return (section){file + row.sh_offset, row.sh_size};
    }
    return (section){0};
}

/* Instructions have 16 bytes, 8 where bit 29 says that they are compacted; opcode 0 is none, and
 * fills up the end. */
static double count(section text)
{
    double instructions = 0;
    for (uint64_t at = 0; at + 8 <= text.size; instructions++) {
        uint32_t word;
        memcpy(&word, text.data + at, sizeof word);
        if (!(word & 0x7f)) break;
        at += word >> 29 & 1 ? 8 : 16;
    }
    return instructions;
}

/* Lines "key: value" of the YAML, which is flat enough where figures stand. */
static void read_lines(char *text, dart_figures *out)
{
    char *rest = NULL, usage[64] = "";
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char key[64], value[64];
        line += strspn(line, " -");
        if (sscanf(line, "%63[a-z_]: %63s", key, value) != 2) continue;
        const double number = atof(value);
        if (!strcmp(key, "grf_count")) out->registers = number;
        if (!strcmp(key, "simd_size")) out->width = number;
        if (!strcmp(key, "slm_size")) out->shared = number;
        if (!strcmp(key, "usage") || !strcmp(key, "arg_type")) strcpy(usage, value);
        if (strcmp(key, "size") != 0) continue;
        if (!strcmp(usage, "spill_fill_space")) out->spills += number / 32; /* registers */
        if (!strcmp(usage, "spill_fill_space") || !strcmp(usage, "private_space"))
            out->scratch += number;
    }
}

bool dart_zebin_read(const void *data, size_t size, dart_figures *out)
{
    const section info = find(data, size, ".ze_info"), code = find(data, size, ".text.");
    char *text = info.data && code.data ? dart_calloc(info.size + 1, 1) : NULL;
    if (!text) return false;
    memcpy(text, info.data, info.size);
    *out = DART_NO_FIGURES;
    out->spills = out->scratch = out->shared = 0; /* are not mentioned where there are none */
    out->instructions = count(code);
    read_lines(text, out);
    free(text);
    return out->width > 0;
}
