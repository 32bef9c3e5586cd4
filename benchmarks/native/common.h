/* The parts that the C programs of the benchmarks share: arguments, clock, and the line of JSON at their end. */
#ifndef COMMON_H
#define COMMON_H

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CONTENT_TYPE "application/octet-stream"

static inline void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static inline double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* The peak memory in bytes. It is VmHWM, because ru_maxrss is inherited through exec. */
static inline long peak_memory(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib * 1024;
}

/* The job of a client: what to send, and where to. */
struct job {
    const char *host, *port, *file, *ca; /* ca: NULL for plain HTTP */
    long long size, part_size;
    int parts, in_flight;
};

static inline struct job read_job(int argc, char **argv)
{
    static const struct option options[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"file", 1, 0, 'f'}, {"ca", 1, 0, 'c'},
        {"size", 1, 0, 's'}, {"part-size", 1, 0, 'P'}, {"in-flight", 1, 0, 'n'}, {0, 0, 0, 0}};
    struct job job = {.host = "127.0.0.1", .in_flight = 1};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'h': job.host = optarg; break;
        case 'p': job.port = optarg; break;
        case 'f': job.file = optarg; break;
        case 'c': job.ca = optarg; break;
        case 's': job.size = atoll(optarg); break;
        case 'P': job.part_size = atoll(optarg); break;
        case 'n': job.in_flight = atoi(optarg); break;
        default: exit(2);
        }
    if (!job.port || !job.file || job.size < 1 || job.part_size < 1 || job.in_flight < 1)
        die("needs --port --file --size --part-size, and takes --host --in-flight --ca");
    job.parts = (int)((job.size + job.part_size - 1) / job.part_size);
    if (job.in_flight > job.parts)
        job.in_flight = job.parts;
    return job;
}

static inline long long part_length(const struct job *job, int part)
{
    long long offset = (long long)part * job->part_size;
    return job->size - offset < job->part_size ? job->size - offset : job->part_size;
}

/* The clocks of one transfer, including connecting, but not the loading of certificates and the allocation of buffers. */
struct meter {
    double seconds, cpu;
};

static inline struct meter start_meter(void)
{
    struct meter meter = {now_seconds(), cpu_seconds()};
    return meter;
}

static inline void print_meter(struct meter began, long long bytes)
{
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"memory\": %ld, \"bytes\": %lld}\n", now_seconds() - began.seconds,
           cpu_seconds() - began.cpu, peak_memory(), bytes);
}

#endif
