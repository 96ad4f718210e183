#include "note.h"
#include <stdarg.h>
#include <stdio.h>

void dart_note_line(dart_note note, const char *format, ...)
{
    char line[1300];
    va_list args;
    if (!note.line) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    note.line(note.user, line);
}
