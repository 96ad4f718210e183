/* Binaries of Intel's compiler: ELF with one section of instructions for each kernel (.text.NAME)
 * and one that says in YAML what they need (.ze_info). Source: the Level Zero project's zebin
 * specification; the bit of compacted instructions: Intel's programmer's reference manuals. */
#include "parts.h"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

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

/* One "key: value" of the YAML; names of figures occur once, whatever they stand in, but for the
 * sizes of memory, which follow what the memory is for. */
static void take(const char *key, const char *value, char usage[64], dart_figures *out)
{
    const double number = atof(value);
    if (!strcmp(key, "grf_count")) out->registers = number;
    if (!strcmp(key, "simd_size")) out->width = number;
    if (!strcmp(key, "slm_size")) out->shared = number;
    if (!strcmp(key, "usage") || !strcmp(key, "arg_type")) snprintf(usage, 64, "%s", value);
    if (strcmp(key, "size") != 0) return;
    if (!strcmp(usage, "spill_fill_space")) out->spills += number / 32; /* registers */
    if (!strcmp(usage, "spill_fill_space") || !strcmp(usage, "private_space"))
        out->scratch += number;
}

/* False: it is no YAML, or nested deeper than such files are. */
static bool read_info(section info, dart_figures *out)
{
    enum { DEPTH = 16 };
    enum { LIST, KEY, VALUE } in[DEPTH] = {LIST};
    char key[64] = "", usage[64] = "";
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0;
    bool good = true, ended = false;
    if (!yaml_parser_initialize(&parser)) return false;
    yaml_parser_set_input_string(&parser, (const unsigned char *)info.data, info.size);
    while (good && !ended && (good = yaml_parser_parse(&parser, &event) != 0)) {
        const bool begins =
            event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        const bool scalar = event.type == YAML_SCALAR_EVENT, named = in[depth] == KEY;
        const char *text = scalar ? (const char *)event.data.scalar.value : "";
        ended = event.type == YAML_STREAM_END_EVENT;
        if (scalar && named) snprintf(key, sizeof key, "%s", text);
        if (scalar && in[depth] == VALUE) take(key, text, usage, out);
        if ((scalar || begins) && in[depth] != LIST) in[depth] = named ? VALUE : KEY;
        if (begins && ++depth < DEPTH)
            in[depth] = event.type == YAML_MAPPING_START_EVENT ? KEY : LIST;
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) depth--;
        good = depth < DEPTH;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return good;
}

bool dart_zebin_read(const void *data, size_t size, dart_figures *out)
{
    const section info = find(data, size, ".ze_info"), code = find(data, size, ".text.");
    if (!info.data || !code.data) return false;
    *out = DART_NO_FIGURES;
    out->spills = out->scratch = out->shared = 0; /* are not mentioned where there are none */
    out->instructions = count(code);
    return read_info(info, out) && out->width > 0;
}
