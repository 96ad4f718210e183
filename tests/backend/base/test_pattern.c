/* Patterns of names: what fits, what does not, and what is no pattern. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include "pattern.h"

static void expect(const char *pattern, const char *name, bool fits)
{
    if (dart_pattern_check(pattern) != DART_OK) fail_msg("%s: %s", pattern, dart_error_text());
    if (dart_pattern_match(pattern, name) != fits)
        fail_msg("'%s' %s '%s'", pattern, fits ? "must fit" : "must not fit", name);
}

static void names_fit_their_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *fits, *misses; /* names, separated by blanks */
    } cases[] = {
        {"head", "head", "heads hea tok_emb"},
        {"*", "head blocks.0.attn.q", ""},
        {"blocks.*.attn.q", "blocks.0.attn.q blocks.12.attn.q", "blocks.0.attn.k enc.0.attn.q"},
        {"blocks.?.attn.[qv]", "blocks.3.attn.q blocks.3.attn.v",
            "blocks.3.attn.k blocks.12.attn.q"},
        {"blocks.[0-3].*", "blocks.0.attn.q blocks.3.mlp.up", "blocks.4.mlp.up blocks.10.mlp.up"},
        {"blocks.[!0-3].*", "blocks.4.mlp.up", "blocks.0.mlp.up"},
        {"{tok,src}_emb", "tok_emb src_emb", "emb tok_emb2 tok,src_emb"},
        {"{enc,dec}.*.{attn,cross}.{q,[kv]}", "enc.0.attn.q dec.2.cross.k dec.10.attn.v",
            "dec.0.cross.o blocks.0.attn.q enc.0.mlp.up"},
        {"{blocks.{0,1{0,1}},head}*", "blocks.0.attn.q blocks.10 blocks.11.mlp.up head heads",
            "blocks.1.attn.q blocks.12"},
        {"a{,b}c", "ac abc", "abbc a"},
        {"*.*.*", "blocks.0.attn.q a.b.c", "a.b head"},
        {"[]x]*[a-]", "]a x- ]]-", "ya xb"},
        {"[{,}]", "{ , }", "{}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int fits = 0; fits < 2; fits++) {
            char names[128];
            snprintf(names, sizeof names, "%s", fits ? cases[i].fits : cases[i].misses);
            for (char *rest = NULL, *name = strtok_r(names, " ", &rest); name;
                 name = strtok_r(NULL, " ", &rest))
                expect(cases[i].pattern, name, fits);
        }
    /* a matcher that tries all ways needs years */
    char many[DART_PATTERN_MAX] = "", name[2000];
    for (int i = 0; i < 60; i++) strcat(many, "*a");
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = 0;
    expect(many, name, true);
    name[sizeof name - 2] = 'b';
    expect(many, name, false);
    expect("*", "", true);
    expect("?", "", false);
}

/* The C library's fnmatch knows the same but for alternatives. */
static void other_matchers_agree(void **state)
{
    (void)state;
    static const char letters[] = "ab.*?[]!-";
    uint64_t seed = 1;
    int compared = 0, fitting = 0;
    for (int i = 0; i < 40000; i++) {
        char pattern[9] = "", name[7] = "";
        for (int k = 0; k < 8; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            pattern[k] = letters[(seed >> 33) % (sizeof letters - 1)];
        }
        for (int k = 0; k < 6; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            name[k] = "ab."[(seed >> 33) % 3];
        }
        pattern[1 + i % 7] = name[i % 7] = 0;
        /* "[." inside a set names a letter of POSIX, which we have not */
        if (strstr(pattern, "[.") || dart_pattern_check(pattern) != DART_OK) continue;
        bool wanted = fnmatch(pattern, name, FNM_NOESCAPE) == 0;
        if (dart_pattern_match(pattern, name) != wanted)
            fail_msg("'%s', '%s': fnmatch says %d", pattern, name, wanted);
        compared++;
        fitting += wanted;
    }
    assert_in_range(fitting, 500, compared - 500);
}

static void what_is_no_pattern_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "blocks.[qv", "{tok,src_emb", "tok}", "{a,{b,c}", "[", "[!]", "{[}]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dart_pattern_check(bad[i]), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "lacks a '}'"));
    /* would be tried 2^5 times; 2^40 would take for ever */
    assert_int_equal(dart_pattern_check("{a,}{a,}{a,}{a,}{a,}"), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "more than 4 braces"));
    char text[DART_PATTERN_MAX + 1];
    memset(text, 'a', DART_PATTERN_MAX);
    text[DART_PATTERN_MAX] = 0;
    assert_int_equal(dart_pattern_check(text), DART_INPUT);
    text[DART_PATTERN_MAX - 1] = 0;
    expect(text, text, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_fit_their_patterns),
        cmocka_unit_test(other_matchers_agree), cmocka_unit_test(what_is_no_pattern_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
