package android.view

open class View(context: Any) {
    fun setOnClickListener(listener: (View) -> Unit) {}
}
