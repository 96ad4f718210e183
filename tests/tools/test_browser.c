/* The report in a real browser, headless Chromium: every picture has its data in the document that
 * the browser built, and it is painted, in light, in dark and on a phone. Skipped, and said so,
 * where there is no Chromium. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dart.h"
#include "report_fixture.h"
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], browser[64];

static int set_up(void **state)
{
    (void)state;
    static const char *const known[] = {
        "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"};
    for (size_t i = 0; i < sizeof known / sizeof *known && !*browser; i++)
        if (access(known[i], X_OK) == 0) strcpy(browser, known[i]);
    strcpy(folder, "/tmp/dart-browser-XXXXXX");
    char run[128], page[128];
    if (!mkdtemp(folder)) return 1;
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(page, sizeof page, "%s/page.html", folder);
    const char *runs[1] = {run};
    return fixture_run(run, 20) || dart_report(runs, 1, page) != DART_OK;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

/* Runs the browser on page.html; its standard output lands in out.txt, its messages in err.txt. */
static void browse(const char *options)
{
    char command[1024];
    if (!*browser) {
        printf("skipped: no chromium\n");
        skip();
    }
    /* Names lead nowhere, so whatever the page asked for from outside would be an error. */
    snprintf(command, sizeof command,
        "timeout 90 %s --headless --no-sandbox --disable-gpu --hide-scrollbars "
        "--user-data-dir=%s/profile --host-resolver-rules='MAP * ~NOTFOUND' "
        "--enable-logging=stderr "
        "%s file://%s/page.html >%s/out.txt 2>%s/err.txt",
        browser, folder, options, folder, folder, folder);
    assert_int_equal(system(command), 0);
}

static char *text_of(const char *name, size_t *size)
{
    char path[128], *text;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(dart_file_read(path, &text, size), DART_OK);
    return text;
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what)) n++;
    return n;
}

static void test_document(void **state)
{
    (void)state;
    size_t size;
    browse("--dump-dom");
    char *dom = text_of("out.txt", &size), *messages = text_of("err.txt", &size);
    assert_non_null(strstr(dom, "</html>"));
    /* nine charts, modules, the key of the colours, four bonds */
    assert_int_equal(count_of(dom, "<svg"), 9 + 1 + 1 + 4);
    assert_int_equal(count_of(dom, "</svg>"), 9 + 1 + 1 + 4);
    assert_int_equal(count_of(dom, "class=\"heat\""), 4);
    assert_int_equal(count_of(dom, "<image"), 5);
    /* loss and its mean, training perplexity, six signals; two validations */
    assert_int_equal(count_of(dom, "data-points=\"20\""), 2 + 1 + 6);
    assert_int_equal(count_of(dom, "data-points=\"2\""), 2);
    assert_int_equal(count_of(dom, "class=\"rk\""), 8);
    assert_int_equal(count_of(dom, "class=\"b0\""), 2);
    assert_null(strstr(messages, "CONSOLE"));
    assert_null(strstr(messages, "ERR_"));
    free(dom);
    free(messages);
}

/* A picture of the wanted size on which something is painted: a page of one colour packs to a few
 * kilobytes. */
static void screenshot(const char *options, uint32_t width, uint32_t height, const char *name)
{
    char all[400];
    size_t size;
    snprintf(all, sizeof all, "--window-size=%u,%u --screenshot=%s/%s %s", width, height, folder,
        name, options);
    browse(all);
    char *picture = text_of(name, &size);
    const uint8_t *p = (const uint8_t *)picture;
    assert_memory_equal(p, "\x89PNG", 4);
    assert_int_equal(
        (uint32_t)p[16] << 24 | (uint32_t)p[17] << 16 | (uint32_t)p[18] << 8 | p[19], width);
    printf("%s: %u x %u, %zu bytes\n", name, width, height, size);
    assert_true(size > 40000);
    free(picture);
}

static void test_screenshots(void **state)
{
    (void)state;
    screenshot("", 1100, 2400, "light.png");
    screenshot("--force-dark-mode --blink-settings=preferredColorScheme=0", 1100, 2400, "dark.png");
    screenshot("", 500, 3600, "phone.png");
    /* CI keeps what stands here; nobody else needs it */
    const char *keep = getenv("DART_KEEP_SCREENSHOTS");
    char command[400];
    snprintf(command, sizeof command, "cp %s/*.png '%s'", folder, keep ? keep : "");
    if (keep) assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document), cmocka_unit_test(test_screenshots)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
