/* libcurl at its best: the multi interface, the largest upload buffer (2 MiB), N transfers on one thread, connections kept.
 *
 * libcurl --port P --file F --size S --part-size S --in-flight N [--ca ca.pem] */
#define _GNU_SOURCE
#include "common.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct transfer {
    CURL *easy;
    long long offset, left;
};

static struct job job;
static int source, next_part;

static size_t give(char *to, size_t size, size_t count, void *context)
{
    struct transfer *one = context;
    size_t room = size * count, wanted = (long long)room < one->left ? room : (size_t)one->left;
    ssize_t got = wanted ? pread(source, to, wanted, one->offset) : 0;
    if (got < 0)
        return CURL_READFUNC_ABORT;
    one->offset += got;
    one->left -= got;
    return (size_t)got;
}

static size_t discard(char *from, size_t size, size_t count, void *context)
{
    (void)from, (void)context;
    return size * count;
}

static int begin_part(CURLM *multi, struct transfer *one)
{
    char url[256];
    if (next_part == job.parts)
        return 0;
    int part = next_part++;
    one->offset = (long long)part * job.part_size;
    one->left = part_length(&job, part);
    snprintf(url, sizeof url, "%s://%s:%s/part/%d", job.ca ? "https" : "http", job.host, job.port, part + 1);
    curl_easy_setopt(one->easy, CURLOPT_URL, url);
    curl_easy_setopt(one->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)one->left);
    curl_multi_add_handle(multi, one->easy);
    return 1;
}

static void prepare(struct transfer *one, struct curl_slist *headers)
{
    one->easy = curl_easy_init();
    curl_easy_setopt(one->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(one->easy, CURLOPT_UPLOAD_BUFFERSIZE, 2L << 20);
    curl_easy_setopt(one->easy, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(one->easy, CURLOPT_READDATA, one);
    curl_easy_setopt(one->easy, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(one->easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(one->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(one->easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(one->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(one->easy, CURLOPT_PRIVATE, one);
    if (job.ca)
        curl_easy_setopt(one->easy, CURLOPT_CAINFO, job.ca);
}

int main(int argc, char **argv)
{
    job = read_job(argc, argv);
    source = open(job.file, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        die("cannot open %s: %s", job.file, strerror(errno));
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)job.in_flight);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: " CONTENT_TYPE);
    headers = curl_slist_append(headers, "x-amz-acl: private");
    struct transfer *all = calloc((size_t)job.in_flight, sizeof *all);
    for (int index = 0; index < job.in_flight; index++)
        prepare(&all[index], headers);
    struct meter began = start_meter();
    int open_transfers = 0, running, queued;
    for (int index = 0; index < job.in_flight; index++)
        open_transfers += begin_part(multi, &all[index]);
    while (open_transfers) {
        curl_multi_perform(multi, &running);
        for (CURLMsg *message; (message = curl_multi_info_read(multi, &queued));) {
            struct transfer *one;
            if (message->data.result != CURLE_OK)
                die("failed: %s", curl_easy_strerror(message->data.result));
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&one);
            curl_multi_remove_handle(multi, one->easy);
            open_transfers += begin_part(multi, one) - 1;
        }
        if (open_transfers)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    print_meter(began, job.size);
    return 0;
}
