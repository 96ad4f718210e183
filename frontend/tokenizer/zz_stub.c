#include "tokenizer.h"
dart_status dart_tokenizer_save(const dart_tokenizer *t, const char *f){(void)t;return dart_fail(DART_FAILED,"stub %s",f);}
#include <string.h>
dart_status dart_tokenizer_texts(const dart_tokenizer *t, char **a, char **b){(void)t;*a=strdup("{}");*b=strdup("{}");return DART_OK;}
