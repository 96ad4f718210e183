/* Option parsing over two tables: the command's own options and, for commands that take a recipe,
 * the one option table of dart.h. */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const dart_option cli_common[] = {
    {"config", "", "string", "", "", "recipe file (YAML); flags override it"},
    {"quiet", "", "bool", "false", "", "no progress on stderr"},
    {"verbose", "", "bool", "false", "", "log lines on stderr"},
    {"help", "", "bool", "false", "", "this text"},
    {NULL},
};

void cli_spell(const char *key, char out[64])
{
    snprintf(out, 64, "--%s", key);
    for (char *c = out; *c; c++) {
        if (*c == '_') *c = '-';
    }
}

static uint32_t own_count(const cli_command *command)
{
    uint32_t n = 0;
    while (command->own && command->own[n].key) n++;
    return n;
}

/* All option names of a command: its own, the common ones, the recipe's. */
static const dart_option *option_at(const cli_command *command, uint32_t index)
{
    uint32_t n = own_count(command);
    if (index < n) return &command->own[index];
    uint32_t common = 0;
    for (; cli_common[common].key; common++) {
        if (n + common == index) return &cli_common[common];
    }
    return command->recipe ? dart_option_at(index - n - common) : NULL;
}

static const char *option_name_at(const void *context, uint32_t index)
{
    const dart_option *option = option_at(context, index);
    return option ? option->key : NULL;
}

/* Its place among the options of a command, its own ones first; UINT32_MAX: it has none of this
 * key.
 */
static uint32_t place_of(const cli_command *command, const char *key)
{
    const dart_option *option;
    for (uint32_t i = 0; (option = option_at(command, i)) != NULL; i++)
        if (strcmp(option->key, key) == 0) return i;
    return UINT32_MAX;
}

/* "-r" and the like stand for long names; of several for the command's own option. bench has those
 * of llama-bench. */
static const char *long_name(const cli_command *command, const char *flag)
{
    static const char *const shorts[][2] = {{"-h", "help"}, {"-q", "quiet"}, {"-v", "verbose"},
        {"-r", "repeats"}, {"-o", "out"}, {"-o", "format"}, {"-c", "config"}, {"-p", "prompt"},
        {"-n", "tokens"}, {"-m", "model_path"}, {"-t", "threads"}, {"-d", "depth"}};
    const char *found = NULL;
    uint32_t first = UINT32_MAX;
    for (size_t i = 0; i < sizeof shorts / sizeof *shorts; i++) {
        const uint32_t place = place_of(command, shorts[i][1]);
        if (strcmp(flag, shorts[i][0]) != 0 || place >= first) continue;
        first = place;
        found = shorts[i][1];
    }
    return found;
}

typedef struct parsed_flag {
    const dart_option *option; /* NULL: a key of a stage */
    char stage_key[96];        /* "shrink.lambda-reg" */
    int own;                   /* index in the command's own table, or -1 */
    const char *value;
} parsed_flag;

static bool is_bool_word(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

/* Reads the flag at argv[*at]; leaves *at behind its value. */
static dart_status read_flag(
    const cli_command *command, int argc, char **argv, int *at, parsed_flag *out)
{
    const char *text = argv[*at];
    const char *name = text[1] == '-' ? text + 2 : long_name(command, text);
    if (!name) return cli_fail(DART_USAGE, "unknown option %s; options begin with --", text);
    size_t length = strcspn(name, "=");
    const char *value = name[length] ? name + length + 1 : NULL;
    bool negated = false;
    const dart_option *option = NULL;
    *out = (parsed_flag){.own = -1};
again:
    for (uint32_t i = 0; (option = option_at(command, i)) != NULL; i++) {
        if (!dart_option_has_name(option, name, length)) continue;
        if (negated && strcmp(option->type, "bool") != 0) continue;
        if (i < own_count(command)) out->own = (int)i;
        break;
    }
    if (!option && !negated && !value && length > 3 && name[0] == 'n' && name[1] == 'o' &&
        strchr("-_", name[2])) {
        negated = true;
        name += 3;
        length -= 3;
        goto again;
    }
    const char *dot = memchr(name, '.', length);
    if (!option && command->recipe && dot && dot > name) {
        snprintf(out->stage_key, sizeof out->stage_key, "%.*s", (int)length, name);
        ++*at;
        if (!value && *at < argc) value = argv[(*at)++];
        out->value = value;
        return value ? DART_OK : cli_fail(DART_USAGE, "option --%s needs a value", out->stage_key);
    }
    if (!option) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)strcspn(text + 2, "="), text + 2);
        const char *near = dart_nearest_name(word, option_name_at, command);
        if (near) {
            char hint[64];
            cli_spell(near, hint);
            return cli_fail(DART_USAGE, "unknown option --%s of %s; did you mean %s?", word,
                command->name, hint);
        }
        return cli_fail(
            DART_USAGE, "unknown option --%s; dart-llm %s --help lists them", word, command->name);
    }
    out->option = option;
    ++*at;
    if (strcmp(option->type, "bool") == 0) {
        if (!value && *at < argc && is_bool_word(argv[*at])) value = argv[(*at)++];
        out->value = negated ? "false" : value ? value : "true";
        return DART_OK;
    }
    if (!value) {
        if (*at >= argc)
            return cli_fail(
                DART_USAGE, "option --%s needs a value (%s)", option->key, option->type);
        value = argv[(*at)++];
    }
    out->value = value;
    return DART_OK;
}

/* DART_<KEY> in the environment sets a recipe key below the flags and above the file. */
static dart_status read_environment(dart_recipe *recipe)
{
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const char *key = dart_option_at(i)->key;
        char name[96] = "DART_";
        for (size_t k = 0; key[k] && k + 6 < sizeof name; k++) name[5 + k] = (char)toupper(key[k]);
        const char *value = getenv(name);
        if (value && *value) CLI_TRY(dart_recipe_override(recipe, key, value));
    }
    return DART_OK;
}

/* A value of `type` "a|b|c" must be one of them; "bool" true or false. */
static dart_status check_value(const dart_option *option, const char *value)
{
    if (strcmp(option->type, "bool") == 0 && !is_bool_word(value))
        return cli_fail(DART_USAGE, "--%s is true or false, not '%s'", option->key, value);
    if (!strchr(option->type, '|')) return DART_OK;
    for (const char *t = option->type; *t;) {
        size_t n = strcspn(t, "|");
        if (strlen(value) == n && strncmp(t, value, n) == 0) return DART_OK;
        t += n + (t[n] == '|');
    }
    return cli_fail(DART_USAGE, "--%s is one of %s, not '%s'", option->key, option->type, value);
}

/* Several values of a key that is no text: "8,16", and of a whole number "8-64*2". */
static bool is_list(const dart_option *option, const char *value)
{
    if (strcmp(option->type, "string") == 0) return false;
    const char *dash = strchr(value, '-');
    return strchr(value, ',') || (strcmp(option->type, "int") == 0 && dash && dash > value);
}

static void drop_list(cli_call *cli, const char *key)
{
    const size_t n = strlen(key);
    for (uint32_t at = 0; at < cli->grids; at++) {
        if (strncmp(cli->grid[at], key, n) != 0 || cli->grid[at][n] != '=') continue;
        memmove(cli->grid[at], cli->grid[at + 1], (--cli->grids - at) * sizeof *cli->grid);
        return;
    }
}

static dart_status take_list(cli_call *cli, const char *key, const char *value)
{
    if (cli->grids == CLI_MAX_GRID)
        return cli_fail(DART_USAGE, "more than %d keys with several values", CLI_MAX_GRID);
    const size_t size = sizeof *cli->grid;
    if (snprintf(cli->grid[cli->grids], size, "%s=%s", key, value) >= (int)size)
        return cli_fail(DART_USAGE, "the list of --%s is too long", key);
    cli->grids++;
    return DART_OK;
}

static dart_status take_flag(cli_call *cli, const parsed_flag *flag, bool config_pass)
{
    if (!flag->option)
        return config_pass ? DART_OK
                           : dart_recipe_override(cli->recipe, flag->stage_key, flag->value);
    const char *key = flag->option->key;
    if (flag->own >= 0) {
        cli->value[flag->own] = flag->value;
        return check_value(flag->option, flag->value);
    }
    for (const dart_option *o = cli_common; o->key; o++) {
        if (o != flag->option) continue;
        bool on = strcmp(flag->value, "false") != 0;
        if (strcmp(key, "quiet") == 0) cli->quiet = on;
        if (strcmp(key, "verbose") == 0) cli->verbose = on;
        if (strcmp(key, "help") == 0) cli->help = on;
        if (strcmp(key, "config") == 0) {
            if (!cli->command->recipe)
                return cli_fail(
                    DART_USAGE, "%s takes no recipe, so no --config", cli->command->name);
            cli->config = flag->value;
        }
        return DART_OK;
    }
    if (config_pass) return DART_OK;
    drop_list(cli, key); /* the last one holds */
    if (cli->command->lists && is_list(flag->option, flag->value))
        return take_list(cli, key, flag->value);
    return dart_recipe_override(cli->recipe, key, flag->value);
}

const char *cli_installed(const char *path, char out[1024])
{
    if (*path == '/' || access(path, R_OK) == 0) return path;
    return dart_data_path(path, out, 1024) == DART_OK ? out : path;
}

static void print_log(void *user, int level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static int own_index(const cli_call *cli, const char *key)
{
    for (int i = 0; cli->command->own && cli->command->own[i].key; i++) {
        if (strcmp(cli->command->own[i].key, key) == 0) return i;
    }
    return -1;
}

/* A second model would go unread. */
static dart_status check_arguments(const cli_call *cli)
{
    const char *arguments = cli->command->arguments;
    if (cli->args < 2 || strcmp(arguments, "[MODEL]") != 0) return DART_OK;
    return cli_fail(DART_USAGE, "%s takes one model, and got '%s' and '%s'%s", cli->command->name,
        cli->arg[0], cli->arg[1],
        own_index(cli, "prompt") < 0 ? "" : "; a text to go on from is --prompt TEXT");
}

/* The file has to be read before the flags that override it, wherever --config stands: two passes.
 */
dart_status cli_parse(cli_call *cli, int argc, char **argv)
{
    if (cli->command->recipe) CLI_TRY(dart_recipe_new(&cli->recipe));
    for (int pass = 0; pass < 2; pass++) {
        bool flags = true;
        cli->args = 0;
        for (int at = 0; at < argc;) {
            if (flags && strcmp(argv[at], "--") == 0) {
                flags = false;
                at++;
            } else if (flags && argv[at][0] == '-' && argv[at][1]) {
                parsed_flag flag = {.own = -1};
                CLI_TRY(read_flag(cli->command, argc, argv, &at, &flag));
                CLI_TRY(take_flag(cli, &flag, pass == 0));
            } else if (!cli->command->arguments) {
                return cli_fail(DART_USAGE, "%s takes no argument '%s'; options begin with --",
                    cli->command->name, argv[at]);
            } else if (cli->args == CLI_MAX_ARGS) {
                return cli_fail(DART_USAGE, "more than %d arguments", CLI_MAX_ARGS);
            } else {
                cli->arg[cli->args++] = argv[at++];
            }
        }
        if (cli->help) return DART_OK;
        CLI_TRY(check_arguments(cli));
        if (pass == 0 && cli->config) {
            char path[1024];
            CLI_TRY(dart_recipe_load(cli->recipe, cli_installed(cli->config, path)));
        }
        if (pass == 0 && cli->recipe) CLI_TRY(read_environment(cli->recipe));
    }
    if (cli->verbose) dart_set_log(print_log, NULL, 2);
    return DART_OK;
}

const char *cli_text(const cli_call *cli, const char *key)
{
    int i = own_index(cli, key);
    if (i < 0) return NULL;
    const char *value = cli->value[i] ? cli->value[i] : cli->command->own[i].fallback;
    return value && *value ? value : NULL;
}

const char *cli_model(const cli_call *cli, char *base, size_t size)
{
    const char *path = cli_text(cli, "model_path");
    if (path) return path;
    if (cli->args) return cli->arg[0];
    return dart_recipe_get(cli->recipe, "base", base, size) == DART_OK && *base ? base : NULL;
}

bool cli_flag(const cli_call *cli, const char *key)
{
    const char *value = cli_text(cli, key);
    return value && strcmp(value, "true") == 0;
}

dart_status cli_real(const cli_call *cli, const char *key, double low, double high, double *out)
{
    const char *text = cli_text(cli, key);
    char *end = NULL;
    *out = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(*out >= low && *out <= high))
        return cli_fail(DART_USAGE, "--%s is a number from %g to %g, not '%s'", key, low, high,
            text ? text : "");
    return DART_OK;
}

dart_status cli_uint(
    const cli_call *cli, const char *key, uint64_t low, uint64_t high, uint64_t *out)
{
    const char *text = cli_text(cli, key);
    char *end = NULL;
    errno = 0;
    *out = text ? strtoull(text, &end, 10) : 0;
    if (!text || end == text || *end || errno || *text == '-' || *out < low || *out > high)
        return cli_fail(DART_USAGE, "--%s is a whole number from %llu to %llu, not '%s'", key,
            (unsigned long long)low, (unsigned long long)high, text ? text : "");
    return DART_OK;
}
