/* table.json, as reports and sweeps read it. */
#include "fuzz.h"
#include "results.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_table_row *row = NULL;
    uint32_t rows;
    char *protocol = NULL, *text;
    if (fuzz_read(dart_table_load(fuzz_file("table.json", data, size), &row, &rows, &protocol))) {
        for (uint32_t r = 0; r < rows; r++)
            for (uint32_t c = 0; dart_table_heading(c); c++) {
                char cell[128];
                dart_table_cell(&row[r], c, cell);
            }
        fuzz_need(dart_table_json(row, rows, &text) == DART_OK, "a table has no text");
        free(text);
    }
    free(row);
    free(protocol);
    return 0;
}
