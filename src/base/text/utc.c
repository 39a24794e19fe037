/* Points in time as text.
 *
 * Place: base. Own arithmetic instead of gmtime_r, which takes a lock in the C library: access logs
 * stamp every request on every thread. Source: the Gregorian rules of RFC 3339 appendix C, with
 * years counted from March, so that the leap day is a year's last day. */
#include "text/text.h"

#define UTC_LAST_MS UINT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

enum {
    DAYS_PER_ERA = 146097, /* 400 Gregorian years */
    DAYS_PER_CENTURY = 36524,
    DAYS_PER_4_YEARS = 1461,
    DAYS_TO_1970 = 719468 /* from 0000-03-01 to 1970-01-01 */
};

struct utc_date {
    unsigned year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

static struct utc_date date_of(unsigned days_since_1970)
{
    unsigned days = days_since_1970 + DAYS_TO_1970;
    unsigned era = days / DAYS_PER_ERA;
    days %= DAYS_PER_ERA;
    /* A century lacks a leap day and a four-year span has one, but for the last of each. */
    unsigned century = days / DAYS_PER_CENTURY < 3 ? days / DAYS_PER_CENTURY : 3;
    days -= century * DAYS_PER_CENTURY;
    unsigned span = days / DAYS_PER_4_YEARS;
    days %= DAYS_PER_4_YEARS;
    unsigned year = days / 365 < 3 ? days / 365 : 3;
    days -= year * 365;
    /* From March on, five months have 153 days: 31 30 31 30 31. */
    unsigned month = (5 * days + 2) / 153;
    struct utc_date date = {
        .year = era * 400 + century * 100 + span * 4 + year + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = days - (153 * month + 2) / 5 + 1,
    };
    return date;
}

static void put_digits(char *dest, unsigned value, unsigned count)
{
    while (count > 0) {
        dest[--count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void text_utc(uint64_t unix_ms, char dest[25])
{
    uint64_t ms = unix_ms < UTC_LAST_MS ? unix_ms : UTC_LAST_MS;
    struct utc_date date = date_of((unsigned)(ms / 86400000));
    unsigned in_day = (unsigned)(ms % 86400000);
    memcpy(dest, "0000-00-00T00:00:00.000Z", 25);
    put_digits(dest, date.year, 4);
    put_digits(dest + 5, date.month, 2);
    put_digits(dest + 8, date.day, 2);
    put_digits(dest + 11, in_day / 3600000, 2);
    put_digits(dest + 14, in_day / 60000 % 60, 2);
    put_digits(dest + 17, in_day / 1000 % 60, 2);
    put_digits(dest + 20, in_day % 1000, 3);
}
