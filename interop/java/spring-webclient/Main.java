import org.springframework.core.ParameterizedTypeReference;
import org.springframework.http.MediaType;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.WebClient;
import java.net.URI;

public final class Main {
    public static void main(String[] words) throws Exception {
        Driver.run((url, token) -> WebClient.create()
                .get()
                .uri(URI.create(url))
                .accept(MediaType.TEXT_EVENT_STREAM)
                .retrieve()
                .bodyToFlux(new ParameterizedTypeReference<ServerSentEvent<String>>() {})
                .subscribe(
                        event -> Driver.message(event.data() == null ? "" : event.data(), event.id()),
                        error -> Driver.end("error " + error),
                        () -> Driver.end("complete")));
    }
}
