import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Arrays;

/** Posts a body and reads the answer, as HttpClient does. Arguments: URL, bytes, times, status, then headers. */
class Client {
    public static void main(String[] arguments) {
        int times = Integer.parseInt(arguments[2]);
        int status = Integer.parseInt(arguments[3]);
        byte[] body = new byte[Integer.parseInt(arguments[1])];
        Arrays.fill(body, (byte) 'x');
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .timeout(Duration.ofMinutes(1))
            .POST(HttpRequest.BodyPublishers.ofByteArray(body));
        for (String header : Arrays.asList(arguments).subList(4, arguments.length)) {
            String[] parts = header.split(": ", 2);
            request.header(parts[0], parts[1]);
        }
        int heard = 0;
        String error = "";
        for (int n = 0; n < times; n++) {
            HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
            try {
                HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
                boolean isRight = response.statusCode() == status
                    && response.body().contains("\"status\":" + status);
                if (isRight) {
                    heard++;
                } else {
                    error = response.statusCode() + " " + response.body();
                }
            } catch (Exception failure) {
                error = failure.toString();
            }
        }
        System.out.println("heard " + heard + " of " + times + " " + error);
    }
}
