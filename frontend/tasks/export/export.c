/* Which format, and whether its folder may be written. */
#include "export.h"
#include "file.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>

static const struct {
    const char *name;
    dart_status (*write)(const dart_exporting *e);
} formats[] = {{"peft", dart_export_peft}, {"hf", dart_export_hf}};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Nothing of somebody else's is written over. */
static dart_status check_folder(const char *path)
{
    if (!dart_file_exists(path)) return DART_OK;
    if (!dart_is_folder(path))
        return dart_fail(DART_INPUT, "%s is a file; --out names a folder to make", path);
    DIR *folder = opendir(path);
    if (!folder)
        return dart_fail(dart_errno_code(errno), "cannot list %s: %s", path, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; errno = 0, (entry = readdir(folder)) || errno == EINTR;)
        if (entry) empty &= !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    if (empty) return DART_OK;
    return dart_fail(DART_INPUT, "%s has files in it; name a new folder with --out", path);
}

dart_status dart_export_bundle(const dart_bundle *bundle, const char *from,
    const dart_export_options *options, dart_note note, dart_export_result *out)
{
    dart_exporting e = {
        .bundle = bundle, .options = options, .from = from, .note = note, .out = out};
    dart_pretrained *base = NULL;
    int format = 0;
    *out = (dart_export_result){0};
    while (format < FORMATS && strcmp(options->format, formats[format].name)) format++;
    if (format == FORMATS)
        return dart_fail(DART_USAGE, "unknown format '%.40s'; known are peft, hf", options->format);
    if (!options->out || !*options->out)
        return dart_fail(DART_USAGE, "an export needs a folder to write (--out)");
    if (strlen(options->out) > 3900)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", options->out);
    if (bundle->source_vocab->size)
        return dart_fail(DART_INPUT,
            "%s translates, and other programs have no model like it; only models of one text are "
            "exported",
            from);
    DART_TRY(check_folder(options->out));
    if (*bundle->set.base) DART_TRY(dart_pretrained_open(bundle->set.base, &base));
    e.base = base;
    dart_status status = dart_mkdirs(options->out);
    if (status == DART_OK) status = formats[format].write(&e);
    dart_pretrained_close(base);
    return status;
}
