/* Help and the man page: printed from the option tables, so that they cannot drift. */
#include "cli.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const sections[][2] = {{"model", "Model"}, {"method", "Method"},
    {"data", "Data"}, {"train", "Training"}, {"stage", "Stages"}, {"run", "Run"}};
enum { SECTIONS = sizeof sections / sizeof *sections };

enum { LEFT = 30, INDENT = LEFT + 3 };

/* Words in lines of a terminal, which the first of them begins at column `at`; in one line where
 * there is no terminal, so that it can be searched. Lines begin at INDENT, or nearer where that
 * would leave few columns. */
static void print_words(const char *text, int at, FILE *out)
{
    const int columns = cli_terminal_columns(out), indent = columns < 2 * INDENT ? 4 : INDENT;
    if (columns < 20) {
        fputs(text, out);
        return;
    }
    for (bool first = true; *text; first = false) {
        const int length = (int)strcspn(text, " "), space = !first;
        if (at > indent && at + space + length >= columns) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (space) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", length, text);
        at += length;
        text += length;
        while (*text == ' ') text++;
    }
}

static void print_option(const dart_option *option, FILE *out)
{
    char name[64], left[128], *text = NULL;
    size_t size;
    FILE *words = open_memstream(&text, &size);
    if (!words) return;
    cli_spell(option->key, name);
    bool flag = strcmp(option->type, "bool") == 0;
    const char *type = strchr(option->type, '|') ? "NAME" : option->type;
    size_t n =
        (size_t)snprintf(left, sizeof left, "%s%s%s", name, flag ? "" : " ", flag ? "" : type);
    for (size_t i = strlen(name); i < n && i < sizeof left; i++) left[i] = (char)toupper(left[i]);
    fputs(option->help, words);
    if (strchr(option->type, '|')) fprintf(words, ": %s", option->type);
    if (option->fallback && *option->fallback && !flag) fprintf(words, " [%s]", option->fallback);
    if (flag && option->fallback && strcmp(option->fallback, "true") == 0)
        fprintf(words, " [on; --no-%s]", name + 2);
    if (option->aliases && *option->aliases) fprintf(words, " (also %s)", option->aliases);
    fclose(words);
    const int used = fprintf(out, "  %-*s ", LEFT, left);
    if (text) print_words(text, used, out);
    fputc('\n', out);
    free(text);
}

/* Calls `print` for every recipe option of a section; `heading` is told first when there is one. */
static void recipe_section(uint32_t section, FILE *out, void (*print)(const dart_option *, FILE *))
{
    for (uint32_t i = 0; dart_option_at(i); i++) {
        if (strcmp(dart_option_at(i)->section, sections[section][0]) == 0)
            print(dart_option_at(i), out);
    }
}

void cli_help_command(const cli_command *command, FILE *out)
{
    fprintf(out, "dart-llm %s: %s\n\nusage: dart-llm %s [options]%s%s\n", command->name,
        command->summary, command->name, command->arguments ? " " : "",
        command->arguments ? command->arguments : "");
    if (command->own && command->own[0].key) fprintf(out, "\nOptions\n");
    for (const dart_option *o = command->own; o && o->key; o++) print_option(o, out);
    fprintf(out, "\nCommon\n");
    for (const dart_option *o = cli_common; o->key; o++) {
        if (command->recipe || strcmp(o->key, "config") != 0) print_option(o, out);
    }
    if (!command->recipe) return;
    for (uint32_t s = 0; s < SECTIONS; s++) {
        fprintf(out, "\n%s\n", sections[s][1]);
        recipe_section(s, out, print_option);
    }
    fprintf(out, "\nHyphens and underscores are alike. A flag overrides DART_<KEY> in the "
                 "environment, which\n"
                 "overrides the recipe file, which overrides the default in brackets.\n");
    if (command->lists)
        fprintf(out,
            "Keys that are no texts take several values, 8,16,32 or a range: 8-64, 8-64+8, "
            "8-64*2;\nevery combination is measured.\n");
}

void cli_help(const cli_command *const *commands, FILE *out)
{
    fprintf(out,
        "dart-llm trains transformers whose weights are tensor trains, and lets training find the "
        "ranks.\n\n"
        "usage: dart-llm COMMAND [--config FILE] [--key value | --key=value | --flag] ...\n\n");
    for (; *commands; commands++) {
        const cli_command *c = *commands;
        fprintf(out, "  %-12s %s\n", c->name, c->summary);
    }
    fprintf(out,
        "\ndart-llm COMMAND --help lists the options. Exit codes: 0 ok, 1 failed, 2 usage, 3 bad "
        "input,\n"
        "4 memory, 5 device, 6 input/output, 7 diverged, 130 and 143 stopped by a signal.\n");
}

/* roff: a leading dot or a backslash must not be read as a request. */
static void roff(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '\\' || *text == '-') fputc('\\', out);
        fputc(*text, out);
    }
}

static void man_option(const dart_option *option, FILE *out)
{
    char name[64];
    cli_spell(option->key, name);
    fputs(".TP\n.B ", out);
    roff(name, out);
    if (strcmp(option->type, "bool") != 0) {
        fputs(" \\fI", out);
        roff(strchr(option->type, '|') ? "name" : option->type, out);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    roff(option->help, out);
    if (strchr(option->type, '|')) {
        fputs(": ", out);
        roff(option->type, out);
    }
    if (option->fallback && *option->fallback) {
        fputs(". Default: ", out);
        roff(option->fallback, out);
    }
    fputc('\n', out);
}

void cli_man(const cli_command *const *commands, FILE *out)
{
    fputs(".TH DART\\-LLM 1\n.SH NAME\ndart\\-llm \\- train tensor\\-train transformers\n.SH "
          "SYNOPSIS\n"
          ".B dart\\-llm\n.I command\n[\\fB\\-\\-config\\fR \\fIfile\\fR] [\\fB\\-\\-key\\fR "
          "\\fIvalue\\fR ...]\n"
          ".SH COMMANDS\n",
        out);
    for (; *commands; commands++) {
        const cli_command *c = *commands;
        fprintf(out, ".SS %s%s%s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "");
        roff(c->summary, out);
        fputc('\n', out);
        for (const dart_option *o = c->own; o && o->key; o++) man_option(o, out);
    }
    fputs(".SH COMMON OPTIONS\n", out);
    for (const dart_option *o = cli_common; o->key; o++) man_option(o, out);
    for (uint32_t s = 0; s < SECTIONS; s++) {
        fprintf(out, ".SH RECIPE KEYS: %s\n", sections[s][1]);
        recipe_section(s, out, man_option);
    }
    fputs(".SH EXIT STATUS\n", out);
#define X(name, value, text) fprintf(out, ".TP\n%d\n%s\n", value, text);
    DART_STATUS_MAP(X)
#undef X
}

const cli_command *cli_command_find(const cli_command *const *commands, const char *name)
{
    while (*commands && strcmp(name, (*commands)->name) != 0) commands++;
    return *commands;
}
