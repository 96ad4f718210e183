/* Accuracy, F1 and Matthews correlation from counts. */
#include "classes_score.h"
#include <math.h>

static double part(double a, double b)
{
    return b > 0 ? a / b : 0;
}

void dart_classes_score(const uint64_t *confusion, uint32_t labels, dart_class_scores *out)
{
    double all = 0, right = 0, f1 = 0, products = 0, truths = 0, guesses = 0;
    *out = (dart_class_scores){0};
    for (uint32_t i = 0; i < labels; i++) {
        const double hit = (double)confusion[(size_t)i * labels + i];
        double truth = 0, guess = 0;
        for (uint32_t j = 0; j < labels; j++) {
            truth += (double)confusion[(size_t)i * labels + j];
            guess += (double)confusion[(size_t)j * labels + i];
        }
        all += truth;
        right += hit;
        products += truth * guess;
        truths += truth * truth;
        guesses += guess * guess;
        /* the harmonic mean of hit / guess and hit / truth */
        const double own = part(2 * hit, truth + guess);
        f1 = labels == 2 ? own : f1 + own / labels;
    }
    out->texts = (uint64_t)all;
    out->accuracy = part(right, all);
    out->f1 = f1;
    const double root = sqrt(all * all - truths) * sqrt(all * all - guesses);
    out->matthews = root > 0 ? (right * all - products) / root : 0;
}
