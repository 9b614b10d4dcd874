// libwebsockets. Each line of standard input, `URL TOKEN`, opens a connection in a thread of its own.

#include <libwebsockets.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    char *url;
    char *token;
    char *text;
    size_t length;
    bool ended;
};

/// A line of JSON for the runner. Threads write whole lines.
static void report(const char *saw, const char *member, const char *text, size_t length) {
    flockfile(stdout);
    printf("{\"saw\":\"%s\"", saw);
    if (member) {
        printf(",\"%s\":\"", member);
        for (size_t at = 0; at < length; at += 1) {
            unsigned char byte = (unsigned char)text[at];
            if (byte == '"' || byte == '\\') printf("\\%c", byte);
            else if (byte < ' ') printf("\\u%04x", byte);
            else putchar(byte);
        }
        putchar('"');
    }
    puts("}");
    fflush(stdout);
    funlockfile(stdout);
}

static void end(struct connection *connection, const char *text) {
    if (connection->ended) return;
    connection->ended = true;
    report("end", "text", text, strlen(text));
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    struct connection *connection = user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        report("open", NULL, NULL, 0);
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        // Longer messages come in pieces.
        connection->text = realloc(connection->text, connection->length + length);
        memcpy(connection->text + connection->length, in, length);
        connection->length += length;
        if (lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi)) {
            report("message", "data", connection->text, connection->length);
            connection->length = 0;
        }
        break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        end(connection, in ? (const char *)in : "connection error");
        break;
    case LWS_CALLBACK_CLIENT_CLOSED:
        end(connection, "closed");
        break;
    default:
        break;
    }
    return 0;
}

static void *listen_to(void *given) {
    struct connection *connection = given;
    const struct lws_protocols protocols[] = {{"throughline.v1", on_event, 0, 0, 0, NULL, 0}, {0}};
    struct lws_context_creation_info options = {0};
    options.port = CONTEXT_PORT_NO_LISTEN;
    options.protocols = protocols;
    struct lws_context *context = lws_create_context(&options);

    const char *scheme, *host, *path;
    int port;
    if (lws_parse_uri(connection->url, &scheme, &host, &port, &path)) exit(1);
    char rooted[4096], offered[4096], authority[128];
    snprintf(rooted, sizeof rooted, "/%s", path);
    snprintf(offered, sizeof offered, "throughline.v1, bearer.%s", connection->token);
    snprintf(authority, sizeof authority, "%s:%d", host, port);
    struct lws_client_connect_info request = {0};
    request.context = context;
    request.address = host;
    request.port = port;
    request.path = rooted;
    request.host = authority;
    request.protocol = offered;
    request.userdata = connection;
    if (!lws_client_connect_via_info(&request)) end(connection, "no connection");
    while (!connection->ended && lws_service(context, 0) >= 0) continue;
    lws_context_destroy(context);
    return NULL;
}

int main(void) {
    lws_set_log_level(0, NULL);
    char url[4096], token[4096];
    while (scanf("%4095s %4095s", url, token) == 2) {
        struct connection *connection = calloc(1, sizeof *connection);
        connection->url = strdup(url);
        connection->token = strdup(token);
        pthread_t thread;
        pthread_create(&thread, NULL, listen_to, connection);
        pthread_detach(thread);
    }
    return 0;
}
