/* Pages of the report and what stands in them. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "dart.h"
#include "report.h"
#include "report_fixture.h"

static char folder[64];

static const char *in(const char *name)
{
    static char path[8][400];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 400, "%s/%s", folder, name);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dart-report-XXXXXX");
    return !mkdtemp(folder) || fixture_run(in("run"), 20) || fixture_run(in("other"), 40);
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

/* The page of one run; freed by the caller. */
static char *page_of(const char *run)
{
    char *text;
    size_t size;
    const char *runs[1] = {run};
    dart_status status = dart_report(runs, 1, in("page.html"));
    if (status != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_file_read(in("page.html"), &text, &size), DART_OK);
    assert_int_equal(strlen(text), size);
    return text;
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what)) n++;
    return n;
}

/* The SVG whose title is `title`; its text up to </svg>, in a static buffer. */
static const char *chart(const char *page, const char *title)
{
    static char text[1 << 18];
    char label[200];
    snprintf(label, sizeof label, "aria-label=\"%s\"", title);
    const char *from = strstr(page, label), *end = from ? strstr(from, "</svg>") : NULL;
    if (!end) fail_msg("no chart called %s", title);
    assert_true((size_t)(end - from) < sizeof text);
    memcpy(text, from, (size_t)(end - from));
    text[end - from] = 0;
    return text;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(dart_file_write_atomic(path, text, strlen(text)), DART_OK);
}

static void refused(const char *run, const char *says)
{
    const char *runs[1] = {run};
    assert_int_equal(dart_report(runs, 1, in("page.html")), DART_INPUT);
    if (!strstr(dart_error_text(), says)) fail_msg("'%s': %s", says, dart_error_text());
}

#endif
