/* completion: what bash and zsh offer behind each word, printed from the option tables. Both get
 * the same function for the values of an option, in words that both understand. */
#include "cli.h"
#include <string.h>

/* "a|b|c" with spaces. */
static void print_choices(const char *type, FILE *out)
{
    for (const char *c = type; *c; c++) fputc(*c == '|' ? ' ' : *c, out);
}

static void print_spelled(const char *key, size_t length, FILE *out)
{
    fputs("--", out);
    for (size_t i = 0; i < length; i++) fputc(key[i] == '_' ? '-' : key[i], out);
}

/* A branch of `case "$command $option"`: what to print for this option, by key and aliases. */
static void print_values(const char *command, const dart_option *o, FILE *out)
{
    const bool device = !strcmp(o->key, "device") || !strcmp(o->key, "compare");
    const bool dataset = !strcmp(o->key, "dataset"), config = !strcmp(o->key, "config");
    const bool text = !strcmp(o->type, "string"), gpus = !strcmp(o->key, "for");
    const bool choices = strchr(o->type, '|') != NULL;
    if (!strcmp(o->type, "bool")) return;
    fprintf(out, "    '%s '", command);
    print_spelled(o->key, strlen(o->key), out);
    for (const char *alias = o->aliases; *alias;) {
        const size_t n = strcspn(alias, ",");
        fprintf(out, " | '%s '", command);
        print_spelled(alias, n, out);
        alias += n + (alias[n] == ',');
    }
    fputs(") echo ", out);
    if (choices) {
        print_choices(o->type, out);
    } else if (device) {
        fputs("$(dart-llm devices 2>/dev/null | awk '$2 == \"yes\" { print $1 }')", out);
        if (!strcmp(command, "bench")) fputs(" all", out);
    } else if (dataset) {
        for (uint32_t i = 0; dart_dataset_name_at(i); i++)
            fprintf(out, "%s ", dart_dataset_name_at(i));
        fputs("@files", out);
    } else if (gpus) {
        for (uint32_t i = 0; dart_kernels_name_at(i); i++)
            fprintf(out, "%s ", dart_kernels_name_at(i));
        fputs("amd intel anv all", out);
    } else {
        fputs(config ? "@recipes" : text ? "@files" : "@nothing", out);
    }
    fputs(" ;;\n", out);
}

/* _dart_llm_values COMMAND OPTION: its values; @files: names of files, @recipes: YAML files,
 * @nothing: a number, no output: the option has no value or is none. */
static void print_value_function(const cli_command *const *all, FILE *out)
{
    fputs("_dart_llm_values()\n{\n    case \"$1 $2\" in\n", out);
    for (uint32_t i = 0; all[i]; i++)
        for (const dart_option *o = all[i]->own; o && o->key; o++)
            print_values(all[i]->name, o, out);
    for (const dart_option *o = cli_common; o->key; o++) print_values("'*'", o, out);
    for (uint32_t i = 0; dart_option_at(i); i++) print_values("'*'", dart_option_at(i), out);
    fputs("    esac\n}\n", out);
}

static void print_option_names(const dart_option *o, FILE *out)
{
    print_spelled(o->key, strlen(o->key), out);
    fputc(' ', out);
}

/* _dart_llm_words COMMAND: its options, and words that may stand alone; "": the commands. */
static void print_word_function(const cli_command *const *all, FILE *out)
{
    fputs("_dart_llm_words()\n{\n    local common='", out);
    for (const dart_option *o = cli_common; o->key; o++) print_option_names(o, out);
    fputs("' recipe='", out);
    for (uint32_t i = 0; dart_option_at(i); i++) print_option_names(dart_option_at(i), out);
    fputs("'\n    case \"$1\" in\n    '') echo ", out);
    for (uint32_t i = 0; all[i]; i++) fprintf(out, "%s ", all[i]->name);
    fputs(";;\n", out);
    for (uint32_t i = 0; all[i]; i++) {
        const cli_command *c = all[i];
        fprintf(out, "    %s) echo \"$common ", c->name);
        for (const dart_option *o = c->own; o && o->key; o++) print_option_names(o, out);
        fprintf(out, "%s\"", c->recipe ? "$recipe" : "");
        if (c->arguments && c->own && !strcmp(c->own[0].key, "what")) {
            fputc(' ', out);
            print_choices(c->own[0].type, out);
        }
        if (!strcmp(c->name, "completion")) fputs(" bash zsh", out);
        if (!strcmp(c->name, "help"))
            for (uint32_t k = 0; all[k]; k++) fprintf(out, " %s", all[k]->name);
        fputs(" ;;\n", out);
    }
    fputs("    esac\n}\n", out);
}

static const char bash_tail[] =
    "_dart_llm()\n{\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= values=\n"
    "    if [ \"$word\" = = ]; then\n"
    "        word=\n"
    "    elif [ \"$before\" = = ]; then\n"
    "        before=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    fi\n"
    "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
    "        COMPREPLY=($(compgen -W \"$(_dart_llm_words '')\" -- \"$word\"))\n"
    "        return\n"
    "    fi\n"
    "    command=${COMP_WORDS[1]}\n"
    "    case $before in --*) values=$(_dart_llm_values \"$command\" \"${before//_/-}\") ;; esac\n"
    "    [ -n \"$values\" ] || values=\"$(_dart_llm_words \"$command\") @files\"\n"
    "    COMPREPLY=($(compgen -W \"$(echo \" $values \" | sed 's/ @[a-z]* / /')\" -- \"$word\"))\n"
    "    case \" $values \" in\n"
    "    *' @recipes '*) compopt -o filenames 2>/dev/null\n"
    "        COMPREPLY+=($(compgen -f -X '!*.@(yaml|yml)' -- \"$word\") $(compgen -d -- "
    "\"$word\")) ;;\n"
    "    *' @files '*) [ ${#COMPREPLY[@]} != 0 ] || { compopt -o filenames 2>/dev/null\n"
    "        COMPREPLY=($(compgen -f -- \"$word\")); } ;;\n"
    "    esac\n"
    "}\n"
    "shopt -s extglob\n"
    "complete -F _dart_llm dart-llm\n";

static const char zsh_tail[] =
    "_dart_llm()\n{\n"
    "    local before=${words[CURRENT-1]} command= values=\n"
    "    if (( CURRENT == 2 )); then\n"
    "        compadd -- $(_dart_llm_words '')\n"
    "        return\n"
    "    fi\n"
    "    command=${words[2]}\n"
    "    if [[ ${words[CURRENT]} == --*=* ]]; then\n"
    "        before=${words[CURRENT]%%=*}\n"
    "        compset -P '*='\n"
    "    fi\n"
    "    [[ $before != --* ]] || values=$(_dart_llm_values \"$command\" \"${before//_/-}\")\n"
    "    [[ -n $values ]] || values=\"$(_dart_llm_words \"$command\") @files\"\n"
    "    local -a list=(${=values})\n"
    "    list=(${list:#@*})\n"
    "    (( ! $#list )) || compadd -- $list\n"
    "    case $values in\n"
    "    *@recipes) _files -g '*.(yaml|yml)' ;;\n"
    "    *@files) _files ;;\n"
    "    esac\n"
    "}\n"
    "if [[ ${funcstack[1]} == _dart_llm ]]; then\n"
    "    _dart_llm \"$@\"\n"
    "else\n"
    "    compdef _dart_llm dart-llm\n"
    "fi\n";

static dart_status run(cli_call *cli)
{
    const char *shell = cli->args ? cli->arg[0] : "bash";
    const bool zsh = !strcmp(shell, "zsh");
    if (!zsh && strcmp(shell, "bash") != 0)
        return cli_fail(DART_USAGE, "there is completion for bash and zsh, not for '%s'", shell);
    puts(zsh ? "#compdef dart-llm\n# or: source <(dart-llm completion zsh)"
             : "# bash completion for dart-llm; load it with: source <(dart-llm completion)");
    print_value_function(cli->commands, stdout);
    print_word_function(cli->commands, stdout);
    fputs(zsh ? zsh_tail : bash_tail, stdout);
    return DART_OK;
}

const cli_command cmd_completion = {.name = "completion",
    .summary = "print completion for bash or zsh",
    .arguments = "[SHELL]",
    .run = run};
